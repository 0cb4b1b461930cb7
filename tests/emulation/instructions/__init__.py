"""Instructions of a request on a processor that is not here: qemu with a plug-in that counts them.

Instructions are not time: processors run several at once, wait for memory, and do not run each equally fast.
"""
