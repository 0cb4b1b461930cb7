/* A plug-in of qemu: counts the instructions that a program runs.
 *
 * The count so far is written to qemu's log whenever the program makes a system call whose first argument is MARK.
 * Instructions are counted by blocks, which run from their first to their last, but for faults.
 */
#include <inttypes.h>
#include <stdio.h>

#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

/* tests/emulation/instructions/count_requests.py has the same. */
static const uint64_t MARK = 1162167621;

static qemu_plugin_u64 executed;

static void count_block(qemu_plugin_id_t plugin, struct qemu_plugin_tb *block)
{
    (void)plugin;
    qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(
        block, QEMU_PLUGIN_INLINE_ADD_U64, executed, qemu_plugin_tb_n_insns(block));
}

static void write_count(qemu_plugin_id_t plugin, unsigned int processor, int64_t number, uint64_t first,
                        uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)plugin, (void)processor, (void)number;
    (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (first == MARK) {
        char line[32];
        snprintf(line, sizeof line, "%" PRIu64 "\n", qemu_plugin_u64_sum(executed));
        qemu_plugin_outs(line);
    }
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t plugin, const qemu_info_t *info, int argc, char **argv)
{
    (void)info, (void)argc, (void)argv;
    executed = qemu_plugin_scoreboard_u64(qemu_plugin_scoreboard_new(sizeof(uint64_t)));
    qemu_plugin_register_vcpu_tb_trans_cb(plugin, count_block);
    qemu_plugin_register_vcpu_syscall_cb(plugin, write_count);
    return 0;
}
