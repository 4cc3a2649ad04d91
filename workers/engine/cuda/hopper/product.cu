// A matrix product of Hopper's warpgroup instructions with whisper's GELU or a residual addition in its epilogue.
//
// out = f(a weight^T + bias), with a [m, K], weight [N, K] and out [m, N]. The product is rounded before f is applied,
// and f is computed and rounded as torch does it, so the result is that of the separate operations.
//
// Thread blocks stay and take tile after tile of 128 x 256 values. A producer warp copies blocks of a and weight into
// shared memory; two warpgroups multiply them, 64 rows each; they add the bias, round, and leave the tile in shared
// memory. Three more warps apply f and write the tile out while the next tile is multiplied, so f costs no time of the
// matrix units.
//
// Macros from the compiler's command line: N, K, STAGES, TYPE (f16 or bf16), GELU (1: GELU, 0: add a residual).

constexpr int ROWS = 128, COLUMNS = 256, DEPTH = 64;  // of a tile, and of a block of the common dimension
constexpr int BLOCKS = K / DEPTH, TILES = N / COLUMNS;
constexpr int FINISHERS = 3;                       // warps that apply f
constexpr int LINE = COLUMNS + 8;                     // a row of the finished tile, padded so that 8 rows use all banks
constexpr u32 BYTES = (ROWS + COLUMNS) * DEPTH * 2;

static_assert(K % DEPTH == 0 && N % COLUMNS == 0, "");

// The shared memory of a thread block; `_shared_bytes` in product.py computes its size.
struct Shared {
    u16 a[STAGES][ROWS][DEPTH];             // both in the layout of TMA's 128-byte swizzle
    u16 weight[STAGES][COLUMNS][DEPTH];
    u16 tile[ROWS][LINE];
    u16 bias[N];
    u64 full[STAGES], empty[STAGES], finished, taken;
};

__device__ __forceinline__ void copy_block(u16* to, const TensorMap& map, int depth, int row, u64* barrier) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];"
                 ::"r"(address(to)), "l"(&map), "r"(depth), "r"(row), "r"(address(barrier)) : "memory");
}

// d += a b^T for 64 rows of a and 256 rows of b, 16 deep; d = a b^T if `keep` is 0.
__device__ __forceinline__ void multiply(float (&d)[32][4], u64 a, u64 b, int keep) {
    asm volatile("{\n.reg .pred keep;\nsetp.ne.b32 keep, %130, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n256k16.f32." STRING(TYPE) "." STRING(TYPE) " {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
        "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
        "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
        "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
        "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "
        "%128, %129, keep, 1, 1, 0, 0;\n}"
        : R16(0), R16(4), R16(8), R16(12), R16(16), R16(20), R16(24), R16(28)
        : "l"(a), "l"(b), "r"(keep));
}

__device__ __forceinline__ float widened(u16 x) {
    float y;
    asm("cvt.f32." STRING(TYPE) " %0, %1;" : "=f"(y) : "h"(x));
    return y;
}

__device__ void produce(Shared& shared, const TensorMap& a, const TensorMap& weight, int tiles) {
    Turn turn;
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x)
        for (int block = 0; block < BLOCKS; ++block, turn.next()) {
            const int stage = turn.stage;
            arrived(&shared.empty[stage], turn.odd ^ 1);
            expect(&shared.full[stage], BYTES);
            copy_block(shared.a[stage][0], a, block * DEPTH, tile / TILES * ROWS, &shared.full[stage]);
            copy_block(shared.weight[stage][0], weight, block * DEPTH, tile % TILES * COLUMNS, &shared.full[stage]);
        }
}

// Multiply 64 rows of each tile, and leave them, rounded, for `finish`.
__device__ void consume(Shared& shared, int half, int tiles) {
    const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, pair = lane % 4 * 2;
    const int row = half * 64 + warp * 16 + lane / 4;
    Turn turn;
    u32 odd = 0;
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x, odd ^= 1) {
        float d[32][4];
        int before = 0;
        for (int block = 0; block < BLOCKS; ++block, turn.next()) {
            arrived(&shared.full[turn.stage], turn.odd);
            const u64 a = descriptor(shared.a[turn.stage][half * 64]), b = descriptor(shared.weight[turn.stage][0]);
            begin_products();
#pragma unroll
            for (int k = 0; k < DEPTH / 16; ++k) multiply(d, a + k * 2, b + k * 2, block + k);
            end_products();
            if (block) {
                await_products<1>();
                if (threadIdx.x % 128 == 0) arrive(&shared.empty[before]);
            }
            before = turn.stage;
        }
        await_products<0>();
        if (threadIdx.x % 128 == 0) arrive(&shared.empty[before]);
        arrived(&shared.taken, odd ^ 1);
        const u16* bias = shared.bias + tile % TILES * COLUMNS + pair;
#pragma unroll
        for (int i = 0; i < 32; ++i) {
            const u32 both = *reinterpret_cast<const u32*>(bias + i * 8);
            const float first = widened(u16(both)), second = widened(u16(both >> 16));
            u32* to = reinterpret_cast<u32*>(&shared.tile[row][i * 8 + pair]);
            to[0] = rounded(d[i][0] + first, d[i][1] + second);
            to[LINE * 4] = rounded(d[i][2] + first, d[i][3] + second);
        }
        __syncwarp();
        if (lane == 0) arrive(&shared.finished);
    }
}

// erf(x) with the operations of CUDA's erff, in their order. Both of its polynomials are computed, because it takes
// longer to select coefficients: that is done by units with half the throughput.
__device__ __forceinline__ float error_function(float x) {
    const float size = fabsf(x), square = x * x;
    float small = fmaf(__uint_as_float(0x38B1E96A), square, __uint_as_float(0xBA574D20));
    float large = fmaf(__uint_as_float(0x38EB4C3A), size, __uint_as_float(0xBAAE005B));
    small = fmaf(small, square, __uint_as_float(0x3BAAD5EA)), large = fmaf(large, size, __uint_as_float(0x3C09919F));
    small = fmaf(small, square, __uint_as_float(0xBCDC1BE7)), large = fmaf(large, size, __uint_as_float(0xBD24D99A));
    small = fmaf(small, square, __uint_as_float(0x3DE718AF)), large = fmaf(large, size, __uint_as_float(0x3E235519));
    small = fmaf(small, square, __uint_as_float(0xBEC093AC)), large = fmaf(large, size, __uint_as_float(0x3F69B4F9));
    small = fmaf(small, square, __uint_as_float(0x3E0375D3)), large = fmaf(large, size, __uint_as_float(0x3F210A14));
    small = fmaf(small, x, x), large = 1.0f - power_of_two(fmaf(large, -size, -size));
    return size >= __uint_as_float(0x3F8060FE) ? copysignf(large, x) : small;
}

__device__ __forceinline__ float finished(float x, float added) {
    if (!GELU) return added + x;
    return x * 0.5f * (1.0f + error_function(x * 0.70710678118654752440f));
}

// What a lane reads of some rows of a tile; several are in progress at once, since each takes long.
struct Lines {
    static constexpr int COUNT = GELU ? 2 : 4;
    uint4 at[COUNT];
};

__device__ __forceinline__ void read_residual(Lines& to, const u16* from, int rows) {
#pragma unroll
    for (int i = 0; i < Lines::COUNT; ++i)
        if (!GELU && i < rows) to.at[i] = *reinterpret_cast<const uint4*>(from + u64(i) * N);
}

// Apply f to eight values of each of COUNT rows of a tile.
__device__ __forceinline__ void finish_lines(Lines& lines, const Lines& added) {
#pragma unroll
    for (int i = 0; i < Lines::COUNT; ++i) {
        u32* values = reinterpret_cast<u32*>(&lines.at[i]);
        const u32* others = reinterpret_cast<const u32*>(&added.at[i]);
#pragma unroll
        for (int k = 0; k < 4; ++k)
            values[k] = rounded(finished(widened(u16(values[k])), widened(u16(others[k]))),
                                finished(widened(u16(values[k] >> 16)), widened(u16(others[k] >> 16))));
    }
}

// Apply the GELU or add the residual, and write the tile out; a warp has whole rows.
__device__ void finish(Shared& shared, const u16* residual, u16* out, int m, int tiles) {
    constexpr int COUNT = Lines::COUNT, STEP = COUNT * FINISHERS;
    const int start = (threadIdx.x / 32 - 1) * COUNT, column = threadIdx.x % 32 * 8;
    u32 odd = 0;
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x, odd ^= 1) {
        const int first = tile / TILES * ROWS, rows = min(ROWS, m - first);
        const u64 corner = u64(first) * N + tile % TILES * COLUMNS + column;
        Lines added = {};
        read_residual(added, residual + corner + u64(start) * N, rows - start);
        arrived(&shared.finished, odd);
        for (int row = start; row < rows; row += STEP) {
            Lines lines;
#pragma unroll
            for (int i = 0; i < COUNT; ++i) lines.at[i] = *reinterpret_cast<const uint4*>(&shared.tile[row + i][column]);
            finish_lines(lines, added);
            read_residual(added, residual + corner + u64(row + STEP) * N, rows - row - STEP);
#pragma unroll
            for (int i = 0; i < COUNT; ++i)
                if (row + i < rows) *reinterpret_cast<uint4*>(out + corner + u64(row + i) * N) = lines.at[i];
        }
        __syncwarp();
        if (threadIdx.x % 32 == 0) arrive(&shared.taken);
    }
}

extern "C" __global__ void __launch_bounds__(384, 1)
product(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap weight, const u16* bias,
        const u16* residual, u16* out, int m) {
    extern __shared__ __align__(1024) unsigned char memory[];
    Shared& shared = *reinterpret_cast<Shared*>(memory);
    const int tiles = (m + ROWS - 1) / ROWS * TILES, group = threadIdx.x / 128;
    for (int at = threadIdx.x * 2; at < N; at += 768)
        *reinterpret_cast<u32*>(shared.bias + at) = *reinterpret_cast<const u32*>(bias + at);
    if (threadIdx.x == 0) {
        for (int stage = 0; stage < STAGES; ++stage) prepare(&shared.full[stage], 1), prepare(&shared.empty[stage], 2);
        prepare(&shared.finished, 8), prepare(&shared.taken, FINISHERS);
    }
    publish_barriers();
    if (group == 0) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 104;");
        if (threadIdx.x == 0) produce(shared, a, weight, tiles);
        if (threadIdx.x >= 32) finish(shared, residual, out, m, tiles);
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 200;");
        consume(shared, group - 1, tiles);
    }
}
