"""Every error that the clients raise; `FleetError` is the base of all.

Errors of Redis itself (`redis.exceptions.RedisError`) pass through the clients as they are.
"""

from __future__ import annotations

from celery.exceptions import TaskRevokedError

from whisper_fleet.shared.errors import (
    AssemblyFailed,
    AudioTooLong,
    AudioTooShort,
    BadOption,
    BadPriority,
    BadSetting,
    CallbackNotAllowed,
    CorruptAudio,
    EmptyFile,
    FileMissing,
    FileTooLarge,
    FleetError,
    JobCancelled,
    JobError,
    JobExists,
    JobNotFinished,
    JobNotFound,
    MessageRejected,
    ModelDoesNotFit,
    ModelNotAllowed,
    ModelUnavailable,
    NoAudioStream,
    NotAFile,
    OutputNotWritable,
    PathNotAllowed,
    PlanningFailed,
    RequestError,
    SegmentFailed,
    SetupError,
    TooManyJobs,
    UnknownGpu,
    UnknownLanguage,
    UnknownModel,
    UnknownOption,
    UnreadableFile,
    UrlNotAllowed,
    UrlUnavailable,
)

__all__ = [
    "AssemblyFailed",
    "AudioTooLong",
    "AudioTooShort",
    "BadOption",
    "BadPriority",
    "BadSetting",
    "CallbackNotAllowed",
    "CorruptAudio",
    "EmptyFile",
    "FileMissing",
    "FileTooLarge",
    "FleetError",
    "JobCancelled",
    "JobError",
    "JobExists",
    "JobNotFinished",
    "JobNotFound",
    "JobRevoked",
    "MessageRejected",
    "ModelDoesNotFit",
    "ModelNotAllowed",
    "ModelUnavailable",
    "NoAudioStream",
    "NotAFile",
    "OutputNotWritable",
    "PathNotAllowed",
    "PlanningFailed",
    "RequestError",
    "SegmentFailed",
    "SetupError",
    "TooManyJobs",
    "UnknownGpu",
    "UnknownLanguage",
    "UnknownModel",
    "UnknownOption",
    "UnreadableFile",
    "UrlNotAllowed",
    "UrlUnavailable",
]


class JobRevoked(JobCancelled, TaskRevokedError):
    """Job {job} was cancelled."""
