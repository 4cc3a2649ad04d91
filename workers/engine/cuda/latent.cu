// Cross-attention of one decode step over the encoder's output, which is read once for scores and weighted sums.
//
// A thread block processes one row and one span of its frames, BLOCK frames at a time. WARPS warps divide the channels
// of the state among themselves: each multiplies its slice of the frames by its slice of every query, and later adds up
// its slice of the frames, weighted. Two more warps, the keepers, copy frames and compute the softmax weights from the
// scores of all slices. Between two barriers, three blocks of frames are in progress: the scores of one, the weights of
// the one before it, and the sums of the one before that. Frames are the rows of every matrix product and heads are its
// columns, so that a model with few heads wastes little. Sums are float32, in an order that depends only on the launch.
//
// The softmax is that of FlashAttention (Dao et al., arXiv:2205.14135): weights are relative to the highest score so
// far, and the sums are rescaled when it rises.
//
// Macros from the compiler's command line: STATE, HEADS, STAGES, WARPS, RESIDENT, TYPE (f16 or bf16).

constexpr int BLOCK = 16;                     // frames
constexpr int KEEPERS = 2;                    // warps that copy frames and compute weights
constexpr int SLICE = STATE / WARPS;          // channels per warp
constexpr int DEPTH = SLICE / 16;             // matrix products per slice
constexpr int TILES = (HEADS + 7) / 8;        // groups of eight heads
constexpr int FRAME = STATE + 8;              // a frame in shared memory, padded so that 8 frames use all banks
constexpr int LINE = BLOCK + 4;               // the scores of a head, padded so that a warp's stores use all banks
constexpr int WEIGHTS = BLOCK + 8;            // the weights of a head, padded likewise
constexpr float LOG2E = 1.4426950408889634f;
constexpr float NEVER = -1e30f;
constexpr float HEADROOM = 8;                 // weights may reach 2^HEADROOM before the sums are rescaled

static_assert(STATE % (16 * WARPS) == 0 && KEEPERS * 32 == 8 * BLOCK / 2, "");

// The shared memory of a thread block; `Shape.shared` in latent.py computes its size.
struct Shared {
    u16 frames[STAGES][BLOCK][FRAME];
    u64 arrivals[STAGES];
    float scores[2][WARPS][TILES * 8][LINE];
    u16 weights[2][TILES * 8][WEIGHTS];
    float shrink[2][TILES * 8];
    float totals[TILES * 8];
};

// The registers of one warp: its slice of the queries and of the sums.
struct Slice {
    u32 query[DEPTH][TILES][2];
    float sums[DEPTH][TILES][4] = {};  // [channels, heads]
    int warp, lane, group, pair;       // lane = 4 * group + pair / 2, the layout of mma fragments

    __device__ __forceinline__ Slice() {
        warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, pair = lane % 4 * 2;
    }

    __device__ __forceinline__ void load(const u16* queries, u64 head_stride) {
#pragma unroll
        for (int k = 0; k < DEPTH; ++k)
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) {
                const int head = tile * 8 + group;
                const u16* at = queries + head * head_stride + warp * SLICE + k * 16 + pair;
                query[k][tile][0] = head < HEADS ? *reinterpret_cast<const u32*>(at) : 0;
                query[k][tile][1] = head < HEADS ? *reinterpret_cast<const u32*>(at + 8) : 0;
            }
    }

    // Compute this slice's part of the scores of a block.
    __device__ __forceinline__ void score(const u16 (&x)[BLOCK][FRAME], float (&scores)[TILES * 8][LINE]) const {
        float s[TILES][4] = {};
        const u32 at = address(&x[lane % 16][warp * SLICE + lane / 16 * 8]);
        u32 a[2][4];  // double-buffered: the next fragment loads while this one is multiplied
        matrices(a[0], at);
#pragma unroll
        for (int k = 0; k < DEPTH; ++k) {
            if (k + 1 < DEPTH) matrices(a[(k + 1) % 2], at + (k + 1) * 32);
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) multiply_add(s[tile], a[k % 2], query[k][tile]);
        }
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile)
#pragma unroll
            for (int i = 0; i < 4; ++i) scores[tile * 8 + pair + i % 2][group + i / 2 * 8] = s[tile][i];
    }

    // Add the frames of a block, weighted, to the sums so far, which are rescaled first if the highest score rose.
    __device__ __forceinline__ void add(const u16 (&x)[BLOCK][FRAME], const u16 (&weights)[TILES * 8][WEIGHTS],
                                        const float (&shrink)[TILES * 8]) {
        bool shrunk = false;
        float by[TILES][2];
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile)
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                by[tile][i] = shrink[tile * 8 + pair + i];
                shrunk |= by[tile][i] != 1.0f;
            }
        if (__any_sync(~0u, shrunk)) {
#pragma unroll
            for (int k = 0; k < DEPTH; ++k)
#pragma unroll
                for (int tile = 0; tile < TILES; ++tile)
#pragma unroll
                    for (int i = 0; i < 4; ++i) sums[k][tile][i] *= by[tile][i % 2];
        }
        u32 p[TILES][2];
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile)
#pragma unroll
            for (int i = 0; i < 2; ++i)
                p[tile][i] = *reinterpret_cast<const u32*>(&weights[tile * 8 + group][pair + i * 8]);
        const u32 at = address(&x[lane / 16 * 8 + lane % 8][warp * SLICE + lane / 8 % 2 * 8]);
        u32 a[2][4];
        matrices_transposed(a[0], at);
#pragma unroll
        for (int k = 0; k < DEPTH; ++k) {
            if (k + 1 < DEPTH) matrices_transposed(a[(k + 1) % 2], at + (k + 1) * 32);
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) multiply_add(sums[k][tile], a[k % 2], p[tile]);
        }
    }

    // Store the sums as parts [head, state], or divided by the totals if `out` is given.
    __device__ __forceinline__ void store(const float (&totals)[TILES * 8], u16* out, u64 out_head,
                                          float* parts) const {
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int head = tile * 8 + pair + i % 2;
                if (head >= HEADS) continue;
                const float each = 1.0f / totals[head];
#pragma unroll
                for (int k = 0; k < DEPTH; ++k) {
                    const int channel = warp * SLICE + k * 16 + group + i / 2 * 8;
                    if (out)
                        out[head * out_head + channel] = rounded(sums[k][tile][i] * each);
                    else
                        parts[head * STATE + channel] = sums[k][tile][i];
                }
            }
    }
};

// The registers of a keeper warp. For the weights, a head has eight lanes and a lane has two frames, tile after tile.
struct Keeper {
    int warp = threadIdx.x / 32 - WARPS, lane = threadIdx.x % 32, place = threadIdx.x - WARPS * 32;
    int head = place / 8, frame = place % 8 * 2;
    float top[TILES], total[TILES];  // a total covers this lane's frames only, until `finish`

    __device__ __forceinline__ Keeper() {
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile) top[tile] = NEVER, total[tile] = 0;
    }

    // Start to copy a block of frames into shared memory; missing frames become zeros.
    __device__ __forceinline__ void fetch(u16 (&to)[BLOCK][FRAME], const u16* from, int left, u64* arrival) const {
        constexpr u32 BYTES = STATE * 2;
        if (place == 0) expect(arrival, min(left, BLOCK) * BYTES);
        if (lane == 0)
            for (int at = warp; at < min(left, BLOCK); at += KEEPERS) copy(to[at], from + at * STATE, BYTES, arrival);
        for (int at = left + warp; at < BLOCK; at += KEEPERS)
            for (int channel = lane * 2; channel < STATE; channel += 64) *reinterpret_cast<u32*>(to[at] + channel) = 0;
    }

    // Compute the weights of a block from its scores, and by how much the sums so far shrink.
    __device__ __forceinline__ void weigh(const float (&scores)[WARPS][TILES * 8][LINE], float scale, int left,
                                          u16 (&weights)[TILES * 8][WEIGHTS], float (&shrink)[TILES * 8]) {
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile) {
            const int at = tile * 8 + head;
            float first = 0, second = 0;
#pragma unroll
            for (int slice = 0; slice < WARPS; ++slice) {
                const float2 part = *reinterpret_cast<const float2*>(&scores[slice][at][frame]);
                first += part.x, second += part.y;
            }
            first = frame < left ? first * scale : NEVER;
            second = frame + 1 < left ? second * scale : NEVER;
            float highest = fmaxf(first, second);
#pragma unroll
            for (int step = 4; step; step /= 2) highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, step));
            highest = highest > top[tile] + HEADROOM ? highest : top[tile];
            const float less = power_of_two(top[tile] - highest);
            first = power_of_two(first - highest), second = power_of_two(second - highest);
            *reinterpret_cast<u32*>(&weights[at][frame]) = rounded(first, second);
            if (frame == 0) shrink[at] = less;
            total[tile] = total[tile] * less + first + second;
            top[tile] = highest;
        }
    }

    // Complete the totals of each head, and store them for the slices and for latent_merge.
    __device__ __forceinline__ void finish(float (&shared_totals)[TILES * 8], float* tops, float* totals) const {
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile) {
            float all = total[tile];
#pragma unroll
            for (int step = 4; step; step /= 2) all += __shfl_xor_sync(~0u, all, step);
            const int at = tile * 8 + head;
            if (frame == 0 && at < HEADS) shared_totals[at] = all, tops[at] = top[tile], totals[at] = all;
        }
    }
};

// query and out are [row, head, state] with any strides of rows and heads; channels are contiguous. If one thread block
// has all frames of a row, it writes out; otherwise it writes parts [row, split, head, state]. tops and totals, each
// [row, split, head], are the highest scores and the sums of the weights.
extern "C" __global__ void __launch_bounds__((WARPS + KEEPERS) * 32, RESIDENT)
latent_attention(const u16* query, u64 query_row, u64 query_head, const u16* encoded, u64 slot_stride,
                 const int* active, const int* slots, int columns, int slot_column, int per_row, int frames, int span,
                 float scale, u16* out, u64 out_row, u64 out_head, float* parts, float* tops, float* totals) {
    extern __shared__ __align__(16) unsigned char memory[];
    Shared& shared = *reinterpret_cast<Shared*>(memory);
    const int split = blockIdx.x, splits = gridDim.x, row = blockIdx.y, source = row / per_row;
    if (!active[source]) return;
    const int count = min(span, frames - split * span), blocks = (count + BLOCK - 1) / BLOCK;
    encoded += u64(slots[source * columns + slot_column]) * slot_stride + u64(split * span) * STATE;

    const u64 at = u64(row) * splits + split;
    if (threadIdx.x < STAGES) prepare(&shared.arrivals[threadIdx.x]);
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    meet();

    if (threadIdx.x >= WARPS * 32) {
        Keeper keeper;
        const auto fetch = [&](int block) {
            const int stage = block % STAGES, left = count - block * BLOCK;
            if (left > 0)
                keeper.fetch(shared.frames[stage], encoded + block * BLOCK * STATE, left, &shared.arrivals[stage]);
        };
        for (int block = 0; block < STAGES; ++block) fetch(block);
        meet();
        meet();
        for (int block = 0; block < blocks; ++block) {
            const int now = block % 2, left = count - block * BLOCK;
            if (block > 1) fetch(block + STAGES - 2);  // into the buffer of the block that was added last
            keeper.weigh(shared.scores[now], scale * LOG2E, left, shared.weights[now], shared.shrink[now]);
            meet();
        }
        keeper.finish(shared.totals, tops + at * HEADS, totals + at * HEADS);
        meet();
        return;
    }

    Slice slice;
    slice.load(query + row * query_row, query_head);
    meet();  // missing frames are zeros from here on
    arrived(&shared.arrivals[0], 0);
    slice.score(shared.frames[0], shared.scores[0][slice.warp]);
    meet();
    for (int block = 0; block < blocks; ++block) {
        const int now = block % 2, other = 1 - now, stage = (block + 1) % STAGES;
        if (block > 0) slice.add(shared.frames[(block - 1) % STAGES], shared.weights[other], shared.shrink[other]);
        if (block + 1 < blocks) {
            arrived(&shared.arrivals[stage], (block + 1) / STAGES % 2);
            slice.score(shared.frames[stage], shared.scores[other][slice.warp]);
        }
        meet();
    }
    const int last = blocks - 1;
    slice.add(shared.frames[last % STAGES], shared.weights[last % 2], shared.shrink[last % 2]);
    meet();
    slice.store(shared.totals, splits == 1 ? out + row * out_row : nullptr, out_head, parts + at * HEADS * STATE);
}

// Merge the parts of a row's spans; there is one thread block per head of each row.
extern "C" __global__ void latent_merge(const float* parts, const float* tops, const float* totals, const int* active,
                                        int per_row, int splits, u16* out, u64 out_row, u64 out_head) {
    const int row = blockIdx.y, head = blockIdx.x;
    if (!active[row / per_row]) return;
    float highest = NEVER, total = 0;
    for (int split = 0; split < splits; ++split) highest = fmaxf(highest, tops[(row * splits + split) * HEADS + head]);
    for (int split = 0; split < splits; ++split) {
        const int at = (row * splits + split) * HEADS + head;
        total += totals[at] * power_of_two(tops[at] - highest);
    }
    for (int channel = threadIdx.x * 4; channel < STATE; channel += blockDim.x * 4) {
        float4 value = {};
        for (int split = 0; split < splits; ++split) {
            const u64 at = u64(row * splits + split) * HEADS + head;
            const float weight = power_of_two(tops[at] - highest) / total;
            const float4 part = *reinterpret_cast<const float4*>(&parts[at * STATE + channel]);
            value.x += part.x * weight, value.y += part.y * weight;
            value.z += part.z * weight, value.w += part.w * weight;
        }
        u16* to = out + row * out_row + head * out_head + channel;
        *reinterpret_cast<u32*>(to) = rounded(value.x, value.y);
        *reinterpret_cast<u32*>(to + 2) = rounded(value.z, value.w);
    }
}
