/* A libnvidia-ml that tells the scenario in the file $NVML_STUB; see nvml_stub.py for its lines. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID = 2, INSUFFICIENT_SIZE = 7, UNKNOWN = 999, MOST = 16 };

typedef unsigned long long bytes_t;
typedef struct { bytes_t total, free, used; } memory_t;
typedef struct { unsigned gpu, memory; } utilization_t;
typedef struct { unsigned pid; bytes_t used; unsigned gpu_instance, compute_instance; } process_t;
typedef struct {
    int lost, memory_error, optional_error, processes_error;
    char uuid[96], name[96];
    memory_t memory;
    unsigned utilisation, temperature, mig, process_count;
    int major, minor;
    process_t processes[MOST];
} gpu_t;

static gpu_t gpus[MOST];
static unsigned gpu_count;
static int users;

static int read_scenario(void)
{
    FILE *file = fopen(getenv("NVML_STUB"), "r");
    char kind[16];
    int error = UNKNOWN;
    gpu_count = 0;
    if (!file) return UNKNOWN;
    while (fscanf(file, "%15s", kind) == 1) {
        gpu_t *gpu = &gpus[gpu_count ? gpu_count - 1 : 0];
        if (!strcmp(kind, "init")) {
            if (fscanf(file, "%d", &error) != 1) return UNKNOWN;
        } else if (!strcmp(kind, "gpu")) {
            gpu = &gpus[gpu_count++];
            memset(gpu, 0, sizeof *gpu);
            fscanf(file, "%d %d %d %d %95s %95s %llu %llu %llu %u %u %u %d %d", &gpu->lost, &gpu->memory_error,
                   &gpu->optional_error, &gpu->processes_error, gpu->uuid, gpu->name, &gpu->memory.total,
                   &gpu->memory.free, &gpu->memory.used, &gpu->utilisation, &gpu->temperature, &gpu->mig,
                   &gpu->major, &gpu->minor);
        } else {
            process_t *process = &gpu->processes[gpu->process_count++];
            fscanf(file, "%u %llu", &process->pid, &process->used);
        }
    }
    fclose(file);
    return error;
}

int nvmlInitWithFlags(unsigned flags)
{
    int error = read_scenario();
    (void)flags;
    if (error == SUCCESS) users++;
    return error;
}

int nvmlShutdown(void)
{
    if (!users) return UNINITIALIZED;
    users--;
    return SUCCESS;
}

const char *nvmlErrorString(int error)
{
    static char text[32];
    snprintf(text, sizeof text, "stub error %d", error);
    return text;
}

int nvmlSystemGetDriverVersion(char *version, unsigned size)
{
    snprintf(version, size, "580.65.06");
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    if (!users) return UNINITIALIZED;
    *count = gpu_count;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, gpu_t **gpu)
{
    if (index >= gpu_count) return INVALID;
    *gpu = &gpus[index];
    return (*gpu)->lost;
}

int nvmlDeviceGetUUID(gpu_t *gpu, char *uuid, unsigned size)
{
    snprintf(uuid, size, "%s", gpu->uuid);
    return SUCCESS;
}

int nvmlDeviceGetName(gpu_t *gpu, char *name, unsigned size)
{
    snprintf(name, size, "%s", gpu->name);
    return gpu->optional_error;
}

int nvmlDeviceGetMemoryInfo(gpu_t *gpu, memory_t *memory)
{
    *memory = gpu->memory;
    return gpu->memory_error;
}

int nvmlDeviceGetUtilizationRates(gpu_t *gpu, utilization_t *rates)
{
    rates->gpu = gpu->utilisation;
    return gpu->optional_error;
}

int nvmlDeviceGetTemperature(gpu_t *gpu, unsigned sensor, unsigned *degrees)
{
    (void)sensor;
    *degrees = gpu->temperature;
    return gpu->optional_error;
}

int nvmlDeviceGetMigMode(gpu_t *gpu, unsigned *current, unsigned *pending)
{
    *current = *pending = gpu->mig;
    return gpu->optional_error;
}

int nvmlDeviceGetCudaComputeCapability(gpu_t *gpu, int *major, int *minor)
{
    *major = gpu->major;
    *minor = gpu->minor;
    return gpu->optional_error;
}

int nvmlDeviceGetComputeRunningProcesses_v3(gpu_t *gpu, unsigned *count, process_t *processes)
{
    unsigned room = *count;
    if (gpu->processes_error) return gpu->processes_error;
    *count = gpu->process_count;
    if (room < gpu->process_count) return INSUFFICIENT_SIZE;
    memcpy(processes, gpu->processes, gpu->process_count * sizeof *processes);
    return SUCCESS;
}
