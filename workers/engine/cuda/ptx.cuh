// PTX instructions of Hopper and later GPUs that CUDA C++ does not expose: bulk copies, mma, barriers, conversions.
//
// TYPE, a macro from the compiler's command line, is the type of the matrices: f16 or bf16.

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;

#define STRING_OF(x) #x
#define STRING(x) STRING_OF(x)

__device__ __forceinline__ u32 address(const void* shared) {
    return static_cast<u32>(__cvta_generic_to_shared(shared));
}

// Copies are asynchronous bulk copies; a barrier in shared memory counts the bytes of a block of frames that arrived.
__device__ __forceinline__ void prepare(u64* barrier) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(address(barrier)) : "memory");
}

__device__ __forceinline__ void expect(u64* barrier, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::
                 "r"(address(barrier)), "r"(bytes) : "memory");
}

__device__ __forceinline__ void copy(u16* to, const u16* from, u32 bytes, u64* barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
                 "r"(address(to)), "l"(from), "r"(bytes), "r"(address(barrier)) : "memory");
}

__device__ __forceinline__ void arrived(u64* barrier, u32 odd) {
    asm volatile("{\n.reg .pred done;\nAGAIN:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@!done bra AGAIN;\n}" ::
                 "r"(address(barrier)), "r"(odd) : "memory");
}

// Wait for all warps of the thread block; they may call this from different places in the code.
__device__ __forceinline__ void meet() { asm volatile("bar.sync 0;" ::: "memory"); }

__device__ __forceinline__ void matrices(u32 (&a)[4], u32 at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3]) : "r"(at));
}

__device__ __forceinline__ void matrices_transposed(u32 (&a)[4], u32 at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3]) : "r"(at));
}

__device__ __forceinline__ void multiply_add(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." STRING(TYPE) "." STRING(TYPE) ".f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ u16 rounded(float x) {
    u16 y;
    asm("cvt.rn." STRING(TYPE) ".f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ u32 rounded(float low, float high) {
    u32 both;
    asm("cvt.rn." STRING(TYPE) "x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

__device__ __forceinline__ float power_of_two(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
