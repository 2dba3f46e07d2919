/* CUDA runtime and cuBLAS that compute nothing: they count launches, matrix products, copies and synchronisations.
   Device memory is reserved host memory, zero until something is copied to it, and takes no room before that.
   Functions that only have to succeed stand in driver_stub.c, which includes no prototypes. */
#define _GNU_SOURCE
#include <cuda_runtime_api.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

long pretend_launches = 0, pretend_products = 0, pretend_synchronisations = 0;
long pretend_copies_to_device = 0, pretend_copies_to_host = 0, pretend_copies_on_device = 0;
static size_t allocated = 0;
static __thread int current_device = 0;

static size_t card_bytes(void) {
  const char *given = getenv("PRETEND_GPU_BYTES");
  return given ? strtoull(given, 0, 10) : 80ull << 30;
}

/* -- device: the figures of an H100 ------------------------------------------------------------------------------- */
cudaError_t cudaGetDeviceCount(int *n) { *n = 1; return cudaSuccess; }
cudaError_t cudaGetDevice(int *device) { *device = current_device; return cudaSuccess; }
cudaError_t cudaSetDevice(int device) { current_device = device; return cudaSuccess; }
cudaError_t cudaDriverGetVersion(int *version) { *version = CUDART_VERSION; return cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *version) { *version = CUDART_VERSION; return cudaSuccess; }
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device) {
  memset(p, 0, sizeof *p);
  strcpy(p->name, "Pretend H100");
  p->totalGlobalMem = card_bytes();
  p->major = 9;
  p->multiProcessorCount = 132;
  p->warpSize = 32;
  p->regsPerBlock = p->regsPerMultiprocessor = p->totalConstMem = 65536;
  p->maxThreadsPerBlock = p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
  p->maxThreadsDim[2] = 64;
  p->maxGridSize[0] = 2147483647;
  p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->maxThreadsPerMultiProcessor = 2048;
  p->maxBlocksPerMultiProcessor = 32;
  p->sharedMemPerBlock = 49152;
  p->sharedMemPerBlockOptin = 232448;
  p->sharedMemPerMultiprocessor = 233472;
  p->l2CacheSize = 50 << 20;
  p->unifiedAddressing = p->concurrentKernels = 1;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor: *value = 9; break;
    case cudaDevAttrComputeCapabilityMinor: *value = 0; break;
    case cudaDevAttrMultiProcessorCount: *value = 132; break;
    case cudaDevAttrWarpSize: *value = 32; break;
    case cudaDevAttrMaxThreadsPerBlock: *value = 1024; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = 2048; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = 232448; break;
    default: *value = 1;
  }
  return cudaSuccess;
}
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *most) { *least = 0; *most = -5; return cudaSuccess; }
cudaError_t cudaDeviceCanAccessPeer(int *can, int a, int b) { *can = 0; return cudaSuccess; }
cudaError_t cudaDeviceSynchronize(void) { pretend_synchronisations++; return cudaSuccess; }

/* -- streams and events ------------------------------------------------------------------------------------------- */
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned flags, int p) { *s = malloc(64); return cudaSuccess; }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags) { *s = malloc(64); return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t s) { pretend_synchronisations++; return cudaSuccess; }
cudaError_t cudaStreamIsCapturing(cudaStream_t s, enum cudaStreamCaptureStatus *status) { *status = 0; return cudaSuccess; }
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t s, enum cudaStreamCaptureStatus *status, unsigned long long *id,
    cudaGraph_t *graph, const cudaGraphNode_t **nodes, const cudaGraphEdgeData **edges, size_t *n) {
  *status = 0;
  if (id) *id = 0;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t *e) { *e = malloc(64); return cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags) { *e = malloc(64); return cudaSuccess; }
cudaError_t cudaEventDestroy(cudaEvent_t e) { free(e); return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t a, cudaEvent_t b) { *ms = 1; return cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t e) { pretend_synchronisations++; return cudaSuccess; }

/* -- memory: the size of an allocation stands in the page before it ------------------------------------------------ */
cudaError_t cudaMemGetInfo(size_t *left, size_t *total) {
  *total = card_bytes();
  *left = *total - allocated;
  return cudaSuccess;
}
cudaError_t cudaMalloc(void **p, size_t n) {
  char *block;
  if (allocated + n > card_bytes()) return cudaErrorMemoryAllocation;
  block = mmap(0, n + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (block == MAP_FAILED) return cudaErrorMemoryAllocation;
  *(size_t *)block = n;
  *p = block + PAGE;
  allocated += n;
  return cudaSuccess;
}
cudaError_t cudaFree(void *p) {
  if (!p) return cudaSuccess;
  char *block = (char *)p - PAGE;
  size_t n = *(size_t *)block;
  allocated -= n;
  munmap(block, n + PAGE);
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void **p, size_t n) { *p = calloc(1, n); return cudaSuccess; }
cudaError_t cudaHostAlloc(void **p, size_t n, unsigned flags) { *p = calloc(1, n); return cudaSuccess; }
cudaError_t cudaFreeHost(void *p) { free(p); return cudaSuccess; }
cudaError_t cudaHostGetDevicePointer(void **device, void *host, unsigned flags) { *device = host; return cudaSuccess; }
cudaError_t cudaMemcpy(void *to, const void *from, size_t n, enum cudaMemcpyKind kind) {
  memcpy(to, from, n);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, enum cudaMemcpyKind kind, cudaStream_t s) {
  if (kind == cudaMemcpyDeviceToDevice) { pretend_copies_on_device++; return cudaSuccess; }
  if (kind == cudaMemcpyHostToDevice) pretend_copies_to_device++;
  if (kind == cudaMemcpyDeviceToHost) pretend_copies_to_host++;
  memcpy(to, from, n);
  return cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *p) {
  memset(a, 0, sizeof *a);
  a->type = cudaMemoryTypeUnregistered;
  return cudaSuccess;
}
cudaError_t cudaGetSymbolAddress(void **p, const void *symbol) {
  static char zeros[PAGE];
  *p = zeros;
  return cudaSuccess;
}

/* -- kernels ------------------------------------------------------------------------------------------------------- */
enum { SLOTS = 1 << 19 };
static struct { const void *key; const char *name; long launches; } table[SLOTS];

/* The slot of a kernel, found by its function or, for the driver, by its name's address. */
static int slot_of(const void *key) {
  int i = (uint64_t)key * 0x9E3779B97F4A7C15ull >> 45;
  while (table[i].key && table[i].key != key) i = (i + 1) % SLOTS;
  table[i].key = key;
  return i;
}
void pretend_name(const void *key, const char *name) { table[slot_of(key)].name = name; }
void pretend_launch(const void *key) {
  pretend_launches++;
  table[slot_of(key)].launches++;
}
/* Write "launches name" of each kernel, a line each. */
void pretend_write_kernels(const char *path) {
  FILE *file = fopen(path, "w");
  for (int i = 0; file && i < SLOTS; i++)
    if (table[i].launches) fprintf(file, "%ld %s\n", table[i].launches, table[i].name ? table[i].name : "unknown");
  if (file) fclose(file);
}
cudaError_t cudaLaunchKernel(const void *f, dim3 g, dim3 b, void **a, size_t n, cudaStream_t s) {
  pretend_launch(f);
  return cudaSuccess;
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *c, const void *f, void **a) {
  pretend_launch(f);
  return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(void *f, dim3 g, dim3 b, void **a, size_t n, cudaStream_t s) {
  pretend_launch(f);
  return cudaSuccess;
}
cudaError_t __cudaGetKernel(void **kernel, const void *f) { *kernel = (void *)f; return cudaSuccess; }
cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *a, const void *f) {
  memset(a, 0, sizeof *a);
  a->maxThreadsPerBlock = 1024;
  a->binaryVersion = a->ptxVersion = 90;
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n, const void *f, int b, size_t s) {
  *n = 4;
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, const void *f, int b, size_t s, unsigned fl) {
  *n = 4;
  return cudaSuccess;
}
void **__cudaRegisterFatBinary(void *binary) { static void *handle[4]; return handle; }
void __cudaRegisterFatBinaryEnd(void **handle) {}
void __cudaUnregisterFatBinary(void **handle) {}
void __cudaRegisterFunction(void **h, const char *f, char *d, const char *name, int l, void *a, void *b, void *c,
    void *e, int *w) {
  pretend_name(f, name);
}
void __cudaRegisterVar(void **h, char *host, char *device, const char *name, int e, size_t n, int c, int g) {}

/* -- cuBLAS -------------------------------------------------------------------------------------------------------- */
#define PRODUCT(name) int cublas##name() { pretend_products++; return 0; }
#define QUIET(name) int cublas##name() { return 0; }
#define CREATE(name) int cublas##name(void **handle) { *handle = malloc(64); return 0; }
#define OF_EACH_TYPE(kind, name) kind(S##name) kind(D##name) kind(C##name) kind(Z##name)
PRODUCT(Sdot_v2) PRODUCT(Ddot_v2) PRODUCT(Cdotc_v2) PRODUCT(Cdotu_v2) PRODUCT(Zdotc_v2) PRODUCT(Zdotu_v2)
PRODUCT(DotEx) PRODUCT(SgemmEx) PRODUCT(GemmEx) PRODUCT(GemmStridedBatchedEx) PRODUCT(LtMatmul)
OF_EACH_TYPE(PRODUCT, gemm_v2) OF_EACH_TYPE(PRODUCT, gemv_v2) OF_EACH_TYPE(PRODUCT, gemmStridedBatched)
OF_EACH_TYPE(QUIET, gelsBatched) OF_EACH_TYPE(QUIET, geqrfBatched) OF_EACH_TYPE(QUIET, getrfBatched)
OF_EACH_TYPE(QUIET, getrsBatched) OF_EACH_TYPE(QUIET, trsmBatched) OF_EACH_TYPE(QUIET, trsm_v2)
CREATE(Create_v2) CREATE(LtMatmulDescCreate) CREATE(LtMatmulPreferenceCreate) CREATE(LtMatrixLayoutCreate)
QUIET(Destroy_v2) QUIET(SetMathMode) QUIET(SetPointerMode_v2) QUIET(SetStream_v2) QUIET(SetWorkspace_v2)
QUIET(LtMatmulDescDestroy) QUIET(LtMatmulDescSetAttribute) QUIET(LtMatmulPreferenceDestroy)
QUIET(LtMatmulPreferenceSetAttribute) QUIET(LtMatrixLayoutDestroy) QUIET(LtMatrixLayoutSetAttribute)
int cublasGetMathMode(void *handle, int *mode) { *mode = 0; return 0; }
int cublasGetPointerMode_v2(void *handle, int *mode) { *mode = 0; return 0; }
size_t cublasLtGetVersion(void) { return 130000; }
int cublasLtMatmulAlgoGetHeuristic(void *h, void *d, void *a, void *b, void *c, void *e, void *p, int n, void *result,
    int *found) {
  memset(result, 0, 96);
  *found = 1;
  return 0;
}
