// A residual addition followed by whisper's layer norm, in one pass over memory.
//
// The result is bit for bit that of torch's separate operations, because a differing last bit would become noise in
// every later float16 operation. The same threads compute the moments of the same values in the same order as torch's
// vectorized_layer_norm_kernel (aten/src/ATen/native/cuda/layer_norm_kernel.cu), and fmaf is used where its compiler
// contracts a product and a sum. One thread block processes one row.
//
// Macros from the compiler's command line: WIDTH (values per row), TYPE (f16, bf16 or f32).

struct f16 { unsigned short bits; };
struct bf16 { unsigned short bits; };
typedef float f32;

constexpr int WARPS = 4, THREADS = 32 * WARPS;
constexpr int EACH = 4;                                               // values that a thread reads at once
constexpr int TURNS = (WIDTH / EACH + THREADS - 1) / THREADS;
constexpr float EPSILON = 1e-5f;

static_assert(WIDTH % EACH == 0, "");

struct alignas(sizeof(TYPE) * EACH) Values { TYPE at[EACH]; };
struct alignas(16) Floats { float at[EACH]; };

__device__ __forceinline__ float widened(f32 x) { return x; }
__device__ __forceinline__ float widened(bf16 x) { return __uint_as_float(unsigned(x.bits) << 16); }
__device__ __forceinline__ float widened(f16 x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
}

__device__ __forceinline__ void store(f32& to, float x) { to = x; }
__device__ __forceinline__ void store(f16& to, float x) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to.bits) : "f"(x)); }
__device__ __forceinline__ void store(bf16& to, float x) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to.bits) : "f"(x)); }

// The mean of some values, the sum of their squared distances from it, and their count (Welford's algorithm).
struct Moments {
    float mean = 0, squares = 0, count = 0;

    __device__ __forceinline__ void add(float value) {
        const float distance = value - mean;
        count = count + 1.0f;
        mean = fmaf(distance, 1.0f / count, mean);
        squares = fmaf(distance, value - mean, squares);
    }

    __device__ __forceinline__ void join(const Moments& other) {
        const float distance = mean - other.mean, both = other.count + count;
        if (both <= 0) return;
        const float each = 1.0f / both, theirs = other.count * each, ours = count * each;
        squares = fmaf(distance * distance * other.count, ours, other.squares + squares);
        mean = fmaf(theirs, other.mean, ours * mean);
        count = both;
    }
};

// Return the moments of the values of all threads to every thread.
__device__ __forceinline__ Moments joined(Moments moments) {
    __shared__ Moments of_warp[WARPS];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int step = 16; step; step /= 2) {
        Moments other;
        other.mean = __shfl_down_sync(~0u, moments.mean, step);
        other.squares = __shfl_down_sync(~0u, moments.squares, step);
        other.count = __shfl_down_sync(~0u, moments.count, step);
        moments.join(other);
    }
    if (lane == 0) of_warp[warp] = moments;
    __syncthreads();
    Moments first = of_warp[0], second = of_warp[1];  // every thread joins those of the warps, in torch's order
    first.join(of_warp[2]), second.join(of_warp[3]);
    first.join(second);
    return first;
}

// total = x + y and normed = layer_norm(total); if y is null, total is not written and normed = layer_norm(x).
extern "C" __global__ void __launch_bounds__(THREADS)
add_norm(const Values* x, const Values* y, Values* total, Values* normed, const Floats* weight, const Floats* bias) {
    const unsigned long long row = (unsigned long long)blockIdx.x * (WIDTH / EACH);
    float values[TURNS][EACH];
    Moments moments;
#pragma unroll
    for (int turn = 0; turn < TURNS; ++turn) {
        const int at = turn * THREADS + threadIdx.x;
        if (at >= WIDTH / EACH) break;
        Values read = x[row + at];
        if (y) {
            const Values added = y[row + at];
#pragma unroll
            for (int i = 0; i < EACH; ++i) store(read.at[i], widened(read.at[i]) + widened(added.at[i]));
            total[row + at] = read;
        }
#pragma unroll
        for (int i = 0; i < EACH; ++i) moments.add(values[turn][i] = widened(read.at[i]));
    }
    const Moments all = joined(moments);
    const float scale = rsqrtf(all.squares / float(WIDTH) + EPSILON);
#pragma unroll
    for (int turn = 0; turn < TURNS; ++turn) {
        const int at = turn * THREADS + threadIdx.x;
        if (at >= WIDTH / EACH) break;
        const Floats w = weight[at], b = bias[at];
        Values made;
#pragma unroll
        for (int i = 0; i < EACH; ++i) store(made.at[i], fmaf(w.at[i], scale * (values[turn][i] - all.mean), b.at[i]));
        normed[row + at] = made;
    }
}
