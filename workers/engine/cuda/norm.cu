// A residual addition followed by whisper's layer norm, in one pass over memory.
//
// The result is bit for bit that of torch's separate operations, because a differing last bit would become noise in
// every later float16 operation. The same threads compute the moments of the same values in the same order as torch's
// vectorized_layer_norm_kernel (aten/src/ATen/native/cuda/layer_norm_kernel.cu), and fmaf is used where its compiler
// contracts a product and a sum. A thread block processes one row after the other; it reads the weights once, which are
// four times as many bytes as a row of half precision.
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

// The mean of some values, and the sum of their squared distances from it (Welford's algorithm). How many they are is
// known without them, which saves the divisions by it.
struct Moments {
    float mean = 0, squares = 0;

    // Add the value number `count`.
    __device__ __forceinline__ void add(float value, int count) {
        const float distance = value - mean;
        mean = fmaf(distance, 1.0f / float(count), mean);
        squares = fmaf(distance, value - mean, squares);
    }

    // Join other values: `theirs` and `ours` are the shares of both in all values, `count` is how many the others are.
    __device__ __forceinline__ void join(const Moments& other, float count, float theirs, float ours) {
        const float distance = mean - other.mean;
        squares = fmaf(distance * distance * count, ours, other.squares + squares);
        mean = fmaf(theirs, other.mean, ours * mean);
    }

    // Join OTHER values to these COUNT.
    template <int COUNT, int OTHER>
    __device__ __forceinline__ void join(const Moments& other) {
        if (COUNT + OTHER == 0) return;
        const float each = 1.0f / float(COUNT + OTHER);
        join(other, OTHER, float(OTHER) * each, float(COUNT) * each);
    }
};

// How many values each thread of a warp has; threads of one warp have equally many.
__host__ __device__ constexpr int count_of(int warp) {
    return (WIDTH / EACH - 32 * warp + THREADS - 1) / THREADS * EACH;
}

static_assert(WIDTH % (32 * EACH) == 0, "");

// Return the moments of the values of all threads to every thread; rows with an even and an odd number take turns.
__device__ __forceinline__ Moments joined(Moments moments, float count, int odd) {
    __shared__ Moments of_warps[2][WARPS];
    Moments (&of_warp)[WARPS] = of_warps[odd];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (count > 0) {
        const float half = count * (1.0f / (count + count));  // rounded as it is for twice, four times ... as many
#pragma unroll
        for (int step = 16; step; step /= 2, count *= 2) {
            Moments other;
            other.mean = __shfl_down_sync(~0u, moments.mean, step);
            other.squares = __shfl_down_sync(~0u, moments.squares, step);
            moments.join(other, count, half, half);
        }
    }
    if (lane == 0) of_warp[warp] = moments;
    __syncthreads();
    constexpr int C0 = 32 * count_of(0), C1 = 32 * count_of(1), C2 = 32 * count_of(2), C3 = 32 * count_of(3);
    Moments first = of_warp[0], second = of_warp[1];  // every thread joins those of the warps, in torch's order
    first.join<C0, C2>(of_warp[2]), second.join<C1, C3>(of_warp[3]);
    first.join<C0 + C2, C1 + C3>(second);
    return first;
}

// total = x + y and normed = layer_norm(total), for `each` rows per thread block; if y is null, total is not written and
// normed = layer_norm(x).
extern "C" __global__ void __launch_bounds__(THREADS)
add_norm(const Values* x, const Values* y, Values* total, Values* normed, const Floats* weight, const Floats* bias,
         int rows, int each) {
    Floats weights[TURNS], biases[TURNS];
#pragma unroll
    for (int turn = 0; turn < TURNS; ++turn) {
        const int at = turn * THREADS + threadIdx.x;
        if (at < WIDTH / EACH) weights[turn] = weight[at], biases[turn] = bias[at];
    }
    const float count = count_of(threadIdx.x / 32);
    const int first = blockIdx.x * each, last = min(first + each, rows);
    for (int row = first; row < last; ++row) {
        const unsigned long long start = (unsigned long long)row * (WIDTH / EACH);
        float values[TURNS][EACH];
        Moments moments;
#pragma unroll
        for (int turn = 0; turn < TURNS; ++turn) {
            const int at = turn * THREADS + threadIdx.x;
            if (at >= WIDTH / EACH) break;
            Values read = x[start + at];
            if (y) {
                const Values added = y[start + at];
#pragma unroll
                for (int i = 0; i < EACH; ++i) store(read.at[i], widened(read.at[i]) + widened(added.at[i]));
                total[start + at] = read;
            }
#pragma unroll
            for (int i = 0; i < EACH; ++i)
                moments.add(values[turn][i] = widened(read.at[i]), turn * EACH + i + 1);
        }
        const Moments all = joined(moments, count, row % 2);
        const float scale = rsqrtf(all.squares / float(WIDTH) + EPSILON);
#pragma unroll
        for (int turn = 0; turn < TURNS; ++turn) {
            const int at = turn * THREADS + threadIdx.x;
            if (at >= WIDTH / EACH) break;
            Values made;
#pragma unroll
            for (int i = 0; i < EACH; ++i) {
                const float centred = scale * (values[turn][i] - all.mean);
                store(made.at[i], fmaf(weights[turn].at[i], centred, biases[turn].at[i]));
            }
            normed[start + at] = made;
        }
    }
}
