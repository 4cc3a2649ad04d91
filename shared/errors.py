"""Every error of the fleet.

FleetError
├── RequestError            the client can fix it; never retried
│   ├── FileMissing, NotAFile, EmptyFile, UnreadableFile, NoAudioStream, CorruptAudio, AudioTooShort
│   ├── AudioTooLong, FileTooLarge, TooManyJobs, AudioTrackMissing, ChannelMissing
│   ├── PathNotAllowed, UrlNotAllowed, CallbackNotAllowed, UrlUnavailable, UploadMissing, OutputNotWritable
│   ├── BucketUnavailable, OutputNotAllowed
│   ├── UnknownModel, ModelNotAllowed, UnknownLanguage, UnknownOption, BadOption, BadPriority
│   └── UnknownGpu, ModelDoesNotFit
├── JobError
│   ├── JobNotFound, JobNotFinished, JobCancelled
│   ├── PlanningFailed, AssemblyFailed      intake processes were lost with it repeatedly
│   └── SegmentFailed       a segment failed in its last attempt, which fails its job
├── AttemptError            this attempt is over; the ledger decides what comes next
│   ├── StaleAttempt        the segment belongs to another attempt now
│   ├── SegmentStopped      revoked: stops at the next window
│   ├── OverTimeLimit       took longer than Celery's time limit allows: stops at the next window
│   ├── SlotLost            the node is shutting down
│   ├── EngineDown          the engine is not up, so the attempt cannot start
│   └── FeederDied          the process that transcribed the segment ended: run it again
├── EngineError
│   ├── EngineDied          the process ended: run the segment again
│   ├── EngineOutOfMemory   no room for the model or the row: run the segment again, elsewhere or later
│   ├── EngineRequestInvalid  whisper refused these options
│   └── ModelUnavailable    the checkpoint is missing, truncated or not a Whisper model
├── PoolError               a pool cannot be resized like that
├── ServerUnreachable, ServerRefused    a client of the HTTP server gets no answer, or is not let in
├── SetupError              this machine lacks something that it needs
└── BadSetting              an environment variable has a value that cannot be used

The docstring is the message: `raise FileMissing(path=p)` fills it in, and control characters are escaped. Errors
travel through Celery's JSON result backend as type name and message, so that a client without this package gets both.
"""

from __future__ import annotations

from whisper_fleet.shared.display.text import printable


class FleetError(Exception):
    """Whisper Fleet failed."""

    def __init__(self, message: str | None = None, **fields: object) -> None:
        if message is None:
            message = printable(" ".join((type(self).__doc__ or "").split()).format(**fields))
        super().__init__(message)


class RequestError(FleetError):
    """The request cannot be carried out as it stands."""


class FileMissing(RequestError):
    """{path} does not exist on {host}: check the path, and that the intake and GPU machines mount it there too."""


class NotAFile(RequestError):
    """{path} is not a regular file: give the path of one audio or video file."""


class EmptyFile(RequestError):
    """{path} is empty: upload or copy it again."""


class UnreadableFile(RequestError):
    """{path} cannot be read by the fleet: give its user read permission."""


class NoAudioStream(RequestError):
    """{path} holds no audio stream: send a file with sound."""


class AudioTrackMissing(RequestError):
    """{path} has no audio track {track}: set audio_track to one of {tracks}."""


class ChannelMissing(RequestError):
    """{path} has no channel {channel}: the audio track is {channels}, and its first channel is 0."""


class CorruptAudio(RequestError):
    """{path} cannot be decoded ({reason}): check that it plays, or convert it with ffmpeg first."""


class AudioTooShort(RequestError):
    """{path} holds only {seconds:.2f} s of audio: Whisper needs at least {minimum} s."""


class AudioTooLong(RequestError):
    """{path} holds more than {seconds:,.0f} s of audio, {reason}: split it, or have WHISPER_FLEET_{setting} raised."""


class FileTooLarge(RequestError):
    """{path} has more than {limit}, which this fleet accepts: split or compress it, or have
    WHISPER_FLEET_MAX_FILE_BYTES raised."""


class TooManyJobs(RequestError):
    """Tenant {tenant!r} has {waiting:,} jobs waiting for GPUs, as many as this fleet keeps: submit this one again when
    some of them have started, or have WHISPER_FLEET_MAX_WAITING_JOBS raised."""


class PathNotAllowed(RequestError):
    """{path} is outside the directories that this fleet may use: move it below one of {roots}."""


class UrlNotAllowed(RequestError):
    """{url} may not be fetched: give a path, or have its prefix added to WHISPER_FLEET_URL_PREFIXES."""


class CallbackNotAllowed(RequestError):
    """{url} may not be called back: leave out callback_url, or have it covered by WHISPER_FLEET_CALLBACK_PREFIXES."""


class UploadMissing(RequestError):
    """{path} is not an upload that {host} can read: upload the file again; if the HTTP server runs on another host,
    share its {directory}, or name that server in WHISPER_FLEET_UPLOAD_URLS."""


class BucketUnavailable(RequestError):
    """{url} cannot be used ({reason}): check the bucket's name, and the credentials and the network of the fleet."""


class OutputNotAllowed(RequestError):
    """{url} may not be written: name a directory, or have its prefix added to WHISPER_FLEET_OUTPUT_PREFIXES."""


class UrlUnavailable(RequestError):
    """{url} cannot be fetched ({reason}): check that it opens from the fleet's machines."""


class OutputNotWritable(RequestError):
    """The output directory {path} cannot be written ({reason}): choose another output_path."""


class UnknownModel(RequestError):
    """{name!r} is no Whisper model: use one of {known}, or the absolute path of a checkpoint."""


class ModelNotAllowed(RequestError):
    """{model} is outside the directories of checkpoints that this fleet may use: move it below one of {roots}, or have
    its directory added to WHISPER_FLEET_MODEL_ROOTS."""


class UnknownLanguage(RequestError):
    """{language} is no language that Whisper knows: use a code such as 'en', or leave it out."""


class UnknownOption(RequestError):
    """{name!r} is no option of `transcribe`{hint}: remove it or correct its name."""


class MessageRejected(RequestError):
    """The message was set aside, because {reason}. Send it with Celery, as JSON: see the README."""


class BadOption(RequestError):
    """The option {name} is wrong: {reason}."""


class JobExists(RequestError):
    """There is a job {job} already, for another request: choose another id, or leave it out."""


class BadPriority(RequestError):
    """{priority} is no priority: use a whole number from {first} (most urgent) to {last}."""


class UnknownGpu(RequestError):
    """No GPU of the fleet matches gpu_ids {gpu_ids}: the fleet has {known}."""


class ModelDoesNotFit(RequestError):
    """{model} in {precision} needs {needed}, the largest GPU of the fleet has {largest}: use {instead}."""


class JobError(FleetError):
    """The job cannot go on."""


class JobNotFound(JobError):
    """No job {job}: check the id; finished jobs are forgotten after {days:g} days."""


class JobNotFinished(JobError):
    """Job {job} is still {state}: wait for it, or watch it with `whisper-fleet status {job}`."""


class JobCancelled(JobError):
    """Job {job} was cancelled."""


class SegmentFailed(JobError):
    """Segment {segment} of job {job} failed {attempts} times, the last time with: {reason}"""


class PlanningFailed(JobError):
    """Job {job} cannot be planned: {processes} intake processes were lost while they read its file, see their logs."""


class AssemblyFailed(JobError):
    """Job {job} cannot be assembled: {processes} intake processes were lost while they did it, see their logs."""


class AttemptError(FleetError):
    """This attempt at a segment is over."""


class StaleAttempt(AttemptError):
    """Segment {segment} of job {job} is no longer this attempt's: its result is dropped."""


class SegmentStopped(AttemptError):
    """The segment was stopped: {reason}."""


class OverTimeLimit(AttemptError):
    """The segment ran over its {kind} time limit of {limit:g} s."""


class SlotLost(AttemptError):
    """The node is shutting down: the segment goes back to the queue."""


class EngineDown(AttemptError):
    """The engine of this GPU is not up: the segment goes back to the queue."""


class FeederDied(AttemptError):
    """The process of the node that transcribed the segment ended: the segment runs again."""


class EngineError(FleetError):
    """The engine could not do it."""


class EngineDied(EngineError):
    """The engine process ended: the segment runs again as soon as an engine is up."""


class EngineOutOfMemory(EngineError):
    """The GPU has no room for {what}: the segment runs again when memory is free."""


class EngineRequestInvalid(EngineError):
    """Whisper refuses this request: {reason}"""


class ModelUnavailable(EngineError):
    """The model {model} cannot be loaded: {reason}."""


class PoolError(FleetError):
    """The pool has {slots} slots and cannot be made {change}: at least one must stay."""


class ServerUnreachable(FleetError):
    """The server at {server} cannot be reached or is busy ({reason}): start it, correct WHISPER_FLEET_SERVER, or try
    again later."""


class ServerRefused(FleetError):
    """The server at {server} refuses with status {status}: {reason}"""


class SetupError(FleetError):
    """{what} is missing: {fix}."""


class BadSetting(FleetError):
    """{name} cannot be used: {reason}."""
