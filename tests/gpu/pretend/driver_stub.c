/* The CUDA driver, as far as Triton and PyTorch ask for it; launches are counted in the runtime's stub. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define OK(name) int name() { return 0; }
extern long pretend_synchronisations;
void pretend_launch(const void *key);
void pretend_name(const void *key, const char *name);

int cuLaunchKernel(void *function) { pretend_launch(function); return 0; }
int cuLaunchKernelEx(const void *config, void *function) { pretend_launch(function); return 0; }
int cuStreamSynchronize() { pretend_synchronisations++; return 0; }

/* -- device: the figures of an H100, by the numbers of CUdevice_attribute ------------------------------------------ */
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  switch (attribute) {
    case 1: *value = 1024; break;      /* threads per block */
    case 8: *value = 49152; break;     /* shared memory per block */
    case 10: *value = 32; break;       /* threads per warp */
    case 12: *value = 65536; break;    /* registers per block */
    case 13: *value = 1980000; break;  /* clock, kHz */
    case 16: *value = 132; break;      /* multiprocessors */
    case 36: *value = 2619000; break;  /* memory clock, kHz */
    case 37: *value = 5120; break;     /* memory bus, bits */
    case 39: *value = 2048; break;     /* threads per multiprocessor */
    case 75: *value = 9; break;        /* compute capability */
    case 76: *value = 0; break;
    case 81: *value = 233472; break;   /* shared memory per multiprocessor */
    case 82: *value = 65536; break;    /* registers per multiprocessor */
    case 97: *value = 232448; break;   /* shared memory per block, opted in */
    default: *value = 1;
  }
  return 0;
}
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *n) { *n = 1; return 0; }
int cuDeviceGet(int *device, int i) { *device = i; return 0; }
int cuCtxGetDevice(int *device) { *device = 0; return 0; }
int cuCtxGetCurrent(void **context) { *context = (void *)1; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)1; return 0; }
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) {
  if (flags) *flags = 0;
  if (active) *active = 1;
  return 0;
}

/* -- modules and functions ------------------------------------------------------------------------------------------ */
int cuModuleLoad(void **module, const char *path) { *module = (void *)2; return 0; }
int cuModuleLoadData(void **module, const void *image) { *module = (void *)2; return 0; }
int cuModuleLoadDataEx(void **m, const void *image, unsigned n, void *o, void *v) { *m = (void *)2; return 0; }
int cuModuleGetFunction(void **function, void *module, const char *name) {
  *function = strdup(name);
  pretend_name(*function, *function);
  return 0;
}
int cuFuncGetModule(void **module, void *function) { *module = (void *)2; return 0; }
int cuFuncGetParamInfo(void *function, size_t i, size_t *offset, size_t *size) { return 1; }
int cuFuncGetAttribute(int *value, int attribute, void *function) {
  *value = attribute == 0 ? 1024 : attribute == 4 ? 32 : 0; /* threads per block; registers */
  return 0;
}
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, void *f, int b, size_t s) { *n = 4; return 0; }
int cuOccupancyMaxActiveClusters(int *n, void *f, void *config) { *n = 4; return 0; }
int cuPointerGetAttribute(void *value, int attribute, void *p) { *(void **)value = p; return 0; }
int cuGetErrorString(int error, const char **text) { *text = "pretend"; return 0; }
int cuGetErrorName(int error, const char **text) { *text = "pretend"; return 0; }
OK(cuInit) OK(cuCtxSetCurrent) OK(cuCtxPushCurrent_v2) OK(cuCtxPopCurrent_v2) OK(cuCtxGetLimit) OK(cuCtxSetLimit)
OK(cuFuncSetAttribute) OK(cuFuncSetCacheConfig) OK(cuModuleUnload) OK(cuMemGetInfo_v2) OK(cuGetProcAddress_v2)
OK(cuLinkCreate) OK(cuLinkAddData) OK(cuLinkComplete) OK(cuLinkDestroy) OK(cuLibraryLoadData)
OK(cuStreamWriteValue32) OK(cuTensorMapEncodeTiled) OK(cuTensorMapEncodeIm2col)

/* -- the runtime's functions that only have to succeed -------------------------------------------------------------- */
OK(cudaInitDevice) OK(cudaGetLastError) OK(cudaPeekAtLastError) OK(cudaThreadExchangeStreamCaptureMode)
OK(cudaStreamDestroy) OK(cudaStreamQuery) OK(cudaStreamWaitEvent) OK(cudaEventRecord) OK(cudaEventRecordWithFlags)
OK(cudaEventQuery) OK(cudaMemset) OK(cudaMemsetAsync) OK(cudaHostRegister) OK(cudaHostUnregister)
OK(cudaFuncSetAttribute)
