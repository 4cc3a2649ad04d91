// What kernels of Hopper's warpgroup products share: barriers, TMA, descriptors. It follows ptx.cuh.
//
// STAGES, a macro from the compiler's command line, is the number of blocks that shared memory holds of an operand.

// A CUtensorMap, which describes a tensor to the copy engine.
struct alignas(64) TensorMap { unsigned char opaque[128]; };

__device__ __forceinline__ void prepare(u64* barrier, u32 count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address(barrier)), "r"(count) : "memory");
}

// Let all threads and the copy engine see the barriers that one thread prepared.
__device__ __forceinline__ void publish_barriers() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncthreads();
}

__device__ __forceinline__ void arrive(u64* barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address(barrier)) : "memory");
}

// The descriptor of rows of 64 values in TMA's 128-byte swizzle: groups of 8 rows are 1,024 bytes apart.
__device__ __forceinline__ u64 descriptor(const u16* rows) {
    return u64((address(rows) & 0x3FFFF) >> 4) | u64(1) << 16 | u64(64) << 32 | u64(1) << 62;
}

// Accumulators as operands of a product, where they are d[][4].
#define R4(i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define R16(i) R4(i), R4(i + 1), R4(i + 2), R4(i + 3)

__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void end_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Wait until at most LEFT groups of products are under way.
template <int LEFT>
__device__ __forceinline__ void await_products() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

// The number of a stage and the parity of the round that uses it.
struct Turn {
    int stage = 0;
    u32 odd = 0;
    __device__ __forceinline__ void next() {
        if (++stage == STAGES) stage = 0, odd ^= 1;
    }
};
