// The encoder's self-attention: softmax(q k^T / 8) v with heads of 64 channels, without a mask.
//
// A thread block stays and takes tile after tile of queries of one head of one window. A producer thread copies the
// queries, and blocks of 128 keys and values, into shared memory; GROUPS warpgroups have 64 queries each. While a warpgroup
// computes the softmax of one block, its product of the weights before it and their values is under way, and the other
// warpgroups' products. This is the schedule of FlashAttention-3 (Shah et al., arXiv:2407.08608). Every sum is in an
// order that depends on nothing but the frames.
//
// Macros from the compiler's command line: STAGES (blocks of keys and values in shared memory), GROUPS (2 or 3), TYPE
// (f16 or bf16).

constexpr int QUERIES = 64 * GROUPS, KEYS = 128, WIDTH = 64;
constexpr int REGISTERS = GROUPS == 2 ? 232 : 160, REGISTERS_TO_COPY = GROUPS == 2 ? 40 : 32;  // per thread
constexpr u32 BYTES = KEYS * WIDTH * 2;
constexpr float SCALE = 0.125f * 1.4426950408889634f;  // of scores, for powers of two

// The shared memory of a thread block; `_shared_bytes` in self_attention.py computes its size. Tiles are in TMA's
// 128-byte swizzle, results in that of `leave`.
struct Shared {
    u16 query[GROUPS][64][WIDTH];
    u16 result[GROUPS][64][WIDTH];
    u16 key[STAGES][KEYS][WIDTH];
    u16 value[STAGES][KEYS][WIDTH];
    u64 query_full, query_empty, key_full[STAGES], value_full[STAGES], key_empty[STAGES], value_empty[STAGES];
};

__device__ __forceinline__ void copy_block(u16* to, const TensorMap& map, int channel, int frame, int window,
                                           u64* barrier) {
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3, %4}], [%5];" ::"r"(address(to)), "l"(&map), "r"(channel), "r"(frame),
                 "r"(window), "r"(address(barrier)) : "memory");
}

// d += a b^T for 64 queries and 128 keys, 16 channels; d = a b^T if `keep` is 0.
__device__ __forceinline__ void score(float (&d)[16][4], u64 a, u64 b, int keep) {
    asm volatile("{\n.reg .pred keep;\nsetp.ne.b32 keep, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32." STRING(TYPE) "." STRING(TYPE) " {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "%64, %65, keep, 1, 1, 0, 0;\n}"
        : R16(0), R16(4), R16(8), R16(12) : "l"(a), "l"(b), "r"(keep));
}

// d += a b for 64 queries' weights of 16 keys, in registers, and the 64 channels of those keys' values.
__device__ __forceinline__ void weigh(float (&d)[8][4], const u32 (&a)[4], u64 b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32." STRING(TYPE) "." STRING(TYPE) " {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
        "{%32, %33, %34, %35}, %36, 1, 1, 1, 1;"
        : R16(0), R16(4) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

// Warpgroups issue their products in turn, so that one's softmax runs beside another's products.
__device__ __forceinline__ void await_turn(int group) { asm volatile("bar.sync %0, 256;" ::"r"(group + 1) : "memory"); }
__device__ __forceinline__ void pass_turn(int group) {
    asm volatile("bar.arrive %0, 256;" ::"r"((group + 1) % GROUPS + 1) : "memory");
}

// Which queries a tile has: tiles of one head of one window follow each other.
struct Tile {
    int frame, head, window;
    __device__ __forceinline__ Tile(int number, int frames, int heads) {
        const int blocks = (frames + QUERIES - 1) / QUERIES;
        frame = number % blocks * QUERIES, head = number / blocks % heads, window = number / blocks / heads;
    }
};

__device__ void produce(Shared& shared, const TensorMap& queries, const TensorMap& keys, int frames, int heads,
                        int tiles) {
    Turn turn;
    u32 odd = 0;
    for (int number = blockIdx.x; number < tiles; number += gridDim.x, odd ^= 1) {
        const Tile tile(number, frames, heads);
        const int channel = tile.head * WIDTH, state = heads * WIDTH;
        arrived(&shared.query_empty, odd ^ 1);
        expect(&shared.query_full, QUERIES * WIDTH * 2);
        copy_block(shared.query[0][0], queries, channel, tile.frame, tile.window, &shared.query_full);
        for (int frame = 0; frame < frames; frame += KEYS, turn.next()) {
            const int stage = turn.stage;
            arrived(&shared.key_empty[stage], turn.odd ^ 1);
            expect(&shared.key_full[stage], BYTES);
            copy_block(shared.key[stage][0], keys, state + channel, frame, tile.window, &shared.key_full[stage]);
            arrived(&shared.value_empty[stage], turn.odd ^ 1);
            expect(&shared.value_full[stage], BYTES);
            copy_block(shared.value[stage][0], keys, 2 * state + channel, frame, tile.window,
                       &shared.value_full[stage]);
        }
    }
}

// A thread has two queries, in rows `lane / 4` and 8 more of its warp's sixteen.
struct Softmax {
    float top[2] = {-1e30f, -1e30f}, total[2] = {}, shrink[2];

    // Turn the scores of a block into weights, relative to the highest score so far; `left` keys of the block exist.
    __device__ __forceinline__ void apply(float (&scores)[16][4], int left) {
        const int pair = threadIdx.x % 4 * 2;
        if (left < KEYS)
#pragma unroll
            for (int i = 0; i < 16; ++i)
#pragma unroll
                for (int k = 0; k < 4; ++k)
                    if (i * 8 + pair + k % 2 >= left) scores[i][k] = -1e30f;
        float high[2] = {scores[0][0], scores[0][2]};
#pragma unroll
        for (int i = 0; i < 16; ++i)
#pragma unroll
            for (int k = 0; k < 4; ++k) high[k / 2] = fmaxf(high[k / 2], scores[i][k]);
        float offset[2];
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            high[row] = fmaxf(high[row], __shfl_xor_sync(~0u, high[row], 1));
            high[row] = fmaxf(high[row], __shfl_xor_sync(~0u, high[row], 2));
            high[row] = fmaxf(high[row], top[row]);
            shrink[row] = power_of_two((top[row] - high[row]) * SCALE);
            top[row] = high[row], offset[row] = -high[row] * SCALE;
        }
        float sums[2] = {};
#pragma unroll
        for (int i = 0; i < 16; ++i)
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                scores[i][k] = power_of_two(fmaf(scores[i][k], SCALE, offset[k / 2]));
                sums[k / 2] += scores[i][k];
            }
#pragma unroll
        for (int row = 0; row < 2; ++row) total[row] = fmaf(total[row], shrink[row], sums[row]);
    }
};

// Round weights to the layout that the matrix units read.
__device__ __forceinline__ void pack(const float (&scores)[16][4], u32 (&weights)[8][4]) {
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        weights[i / 2][i % 2 * 2] = rounded(scores[i][0], scores[i][1]);
        weights[i / 2][i % 2 * 2 + 1] = rounded(scores[i][2], scores[i][3]);
    }
}

// Leave the results of a warpgroup in shared memory and write them out, 16 bytes per thread at a time.
__device__ __forceinline__ void leave(u16 (&tile)[64][WIDTH], float (&d)[8][4], const Softmax& softmax, u16* out,
                                      int state, int rows, int group) {
    const int thread = threadIdx.x % 128, lane = thread % 32, row = thread / 32 * 16 + lane / 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float total = softmax.total[half];
        total += __shfl_xor_sync(~0u, total, 1), total += __shfl_xor_sync(~0u, total, 2);
        const float each = 1.0f / total;
        u32* line = reinterpret_cast<u32*>(tile[row + half * 8]);
#pragma unroll
        for (int i = 0; i < 8; ++i)
            line[(i ^ (row & 7)) * 4 + lane % 4] = rounded(d[i][half * 2] * each, d[i][half * 2 + 1] * each);
    }
    asm volatile("bar.sync %0, 128;" ::"r"(group + 1 + GROUPS) : "memory");
#pragma unroll
    for (int at = thread; at < 64 * 8; at += 128) {
        const int from = at / 8, chunk = at % 8;
        const uint4 values = *reinterpret_cast<const uint4*>(&tile[from][(chunk ^ (from & 7)) * 8]);
        if (from < rows) *reinterpret_cast<uint4*>(out + u64(from) * state + chunk * 8) = values;
    }
    asm volatile("bar.sync %0, 128;" ::"r"(group + 1 + GROUPS) : "memory");
}

// Issue the products of a block of keys.
__device__ __forceinline__ void score_block(float (&scores)[16][4], Shared& shared, const Turn& keys, u64 query) {
    const u64 key = descriptor(shared.key[keys.stage][0]);
#pragma unroll
    for (int k = 0; k < 4; ++k) score(scores, query + k * 2, key + k * 2, k);
    end_products();
}

// Issue the products of a block of values.
__device__ __forceinline__ void weigh_block(float (&sums)[8][4], const u32 (&weights)[8][4], Shared& shared,
                                            const Turn& values) {
    const u64 value = descriptor(shared.value[values.stage][0]);
#pragma unroll
    for (int k = 0; k < 8; ++k) weigh(sums, weights[k], value + k * 128);
    end_products();
}

__device__ void consume(Shared& shared, u16* out, int frames, int heads, int tiles, int group) {
    const bool leads = threadIdx.x % 128 == 0;
    const int blocks = (frames + KEYS - 1) / KEYS, state = heads * WIDTH;
    const u64 query = descriptor(shared.query[group][0]);
    Turn keys, values;
    u32 odd = 0;
    if (group == GROUPS - 1) pass_turn(group);
    for (int number = blockIdx.x; number < tiles; number += gridDim.x, odd ^= 1) {
        float scores[16][4], sums[8][4] = {};
        u32 weights[8][4];
        Softmax softmax;
        arrived(&shared.query_full, odd);
        arrived(&shared.key_full[keys.stage], keys.odd);
        await_turn(group);
        begin_products();
        score_block(scores, shared, keys, query);
        pass_turn(group);
        await_products<0>();
        if (leads) arrive(&shared.key_empty[keys.stage]);
        keys.next();
        softmax.apply(scores, frames);
        pack(scores, weights);
        for (int block = 1; block < blocks; ++block) {
            arrived(&shared.key_full[keys.stage], keys.odd);
            await_turn(group);
            begin_products();
            score_block(scores, shared, keys, query);
            arrived(&shared.value_full[values.stage], values.odd);
            weigh_block(sums, weights, shared, values);
            pass_turn(group);
            await_products<1>();
            if (leads) arrive(&shared.key_empty[keys.stage]);
            keys.next();
            softmax.apply(scores, frames - block * KEYS);
            await_products<0>();
            if (leads) arrive(&shared.value_empty[values.stage]);
            values.next();
#pragma unroll
            for (int i = 0; i < 8; ++i)
#pragma unroll
                for (int k = 0; k < 4; ++k) sums[i][k] *= softmax.shrink[k / 2];
            pack(scores, weights);
        }
        if (leads) arrive(&shared.query_empty);
        arrived(&shared.value_full[values.stage], values.odd);
        await_turn(group);
        begin_products();
        weigh_block(sums, weights, shared, values);
        pass_turn(group);
        await_products<0>();
        if (leads) arrive(&shared.value_empty[values.stage]);
        values.next();
        const Tile tile(number, frames, heads);
        const int first = tile.frame + group * 64;
        u16* to = out + (u64(tile.window) * frames + first) * state + tile.head * WIDTH;
        leave(shared.result[group], sums, softmax, to, state, frames - first, group);
    }
    if (group == 0) await_turn(group);
}

extern "C" __global__ void __launch_bounds__(128 + 128 * GROUPS, 1)
self_attention(const __grid_constant__ TensorMap queries, const __grid_constant__ TensorMap keys, u16* out, int frames,
               int heads, int tiles) {
    extern __shared__ __align__(1024) unsigned char memory[];
    Shared& shared = *reinterpret_cast<Shared*>(memory);
    if (threadIdx.x == 0) {
        prepare(&shared.query_full, 1), prepare(&shared.query_empty, GROUPS);
        for (int stage = 0; stage < STAGES; ++stage) {
            prepare(&shared.key_full[stage], 1), prepare(&shared.key_empty[stage], GROUPS);
            prepare(&shared.value_full[stage], 1), prepare(&shared.value_empty[stage], GROUPS);
        }
    }
    publish_barriers();
    if (threadIdx.x < 128) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS_TO_COPY));
        if (threadIdx.x == 0) produce(shared, queries, keys, frames, heads, tiles);
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
        consume(shared, out, frames, heads, tiles, threadIdx.x / 128 - 1);
    }
}
