/* A plug-in for qemu-hexagon that prints how many packets were executed. What qemu's translator
 * takes for an instruction is a packet on Hexagon.
 *
 * Distributions do not package qemu-plugin.h; these are the parts of its version 1 that are used.*/
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
typedef void (*translated_callback)(qemu_plugin_id_t id, struct qemu_plugin_tb* block);
typedef void (*executed_callback)(unsigned int cpu, void* data);
typedef void (*exit_callback)(qemu_plugin_id_t id, void* data);
enum { kNoRegisters = 0 };

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, translated_callback callback);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb* block, executed_callback callback,
                                          int flags, void* data);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, exit_callback callback, void* data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb* block);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static uint64_t packets;

static void executed(unsigned int cpu, void* data) {
  (void)cpu;
  packets += (uintptr_t)data;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb* block) {
  (void)id;
  qemu_plugin_register_vcpu_tb_exec_cb(block, executed, kNoRegisters,
                                       (void*)(uintptr_t)qemu_plugin_tb_n_insns(block));
}

static void finished(qemu_plugin_id_t id, void* data) {
  (void)id;
  (void)data;
  fprintf(stderr, "packets %llu\n", (unsigned long long)packets);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id,
                                                               const void* info, int count,
                                                               char** arguments) {
  (void)info;
  (void)count;
  (void)arguments;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, finished, NULL);
  return 0;
}
