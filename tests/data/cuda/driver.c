/* A stand-in for NVIDIA's driver that answers what it is told: enough for onnxruntime's CUDA library to load, and for
   CUDA to ask about the driver and its GPUs. Nothing else works. See record.py. */
#include <stdlib.h>
#include <string.h>

static int told(const char *name, int otherwise) { char *value = getenv(name); return value ? atoi(value) : otherwise; }

int cuTensorMapEncodeTiled(void) { return 999; }
int cuInit(unsigned flags) { return told("DRIVER_INIT", 0); }
int cuDriverGetVersion(int *version) { *version = told("DRIVER_CUDA", 13010); return 0; }
int cuDeviceGetCount(int *count) { *count = told("DRIVER_GPUS", 1); return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return index < told("DRIVER_GPUS", 1) ? 0 : 101; }
static int other(void) { return 999; }

int cuGetProcAddress_v2(const char *name, void **found, int version, unsigned long long flags, int *status) {
    *found = !strcmp(name, "cuInit") ? (void *)cuInit
           : !strcmp(name, "cuDriverGetVersion") ? (void *)cuDriverGetVersion
           : !strcmp(name, "cuDeviceGetCount") ? (void *)cuDeviceGetCount
           : !strcmp(name, "cuDeviceGet") ? (void *)cuDeviceGet
           : !strncmp(name, "cuGetProcAddress", 16) ? (void *)cuGetProcAddress_v2
           : (void *)other;
    if (status) *status = 0;
    return 0;
}

int cuGetProcAddress(const char *name, void **found, int version, unsigned long long flags) {
    return cuGetProcAddress_v2(name, found, version, flags, 0);
}
