"""OpenAI's protocol: the routes, texts and answers that are written, and calls of tools.

- :mod:`~edgepipe.serve.protocols.openai.openai_routes`: all routes; models and embeddings
- :mod:`~edgepipe.serve.protocols.openai.openai_completions`: texts behind prompts
- :mod:`~edgepipe.serve.protocols.openai.openai_chats`: answers to chats
- :mod:`~edgepipe.serve.protocols.openai.openai_tools`: the tools of a chat, and what calls of them are held to
"""
