"""A pretend GPU: PyTorch's own CUDA dispatch, allocator and code generation on a machine without a GPU.

Stubs of the CUDA runtime, cuBLAS and the driver (`stubs`) are loaded before the real ones; kernels compute nothing.
Launches, copies, synchronisations and memory are those of the program; numbers, times, cuDNN, cuFFT and NCCL are not.
"""
