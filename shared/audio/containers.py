"""The file formats that the fleet decodes: those of ffmpeg's containers and streams that hold all of their media.

A format that makes ffmpeg open another file or address is not among them: playlists (hls, dash, concat, imf), image
sequences (image2), recordings in several files (mlv, vobsub), and session descriptions (sdp, rtsp). A new format needs
the same check: its demuxer in ffmpeg's libavformat calls neither `io_open` nor `avformat_open_input`. mov calls
`io_open` for references to other files, which ffmpeg refuses unless its option enable_drefs is set. avi opens its
subtitles, which are in the file. Checked in the source of ffmpeg 7.1.
"""

from __future__ import annotations

from typing import NamedTuple


class Container(NamedTuple):
    """One format, by ffmpeg's name of its demuxer."""

    demuxer: str
    description: str
    extensions: str  # the usual ones


CONTAINERS = (
    # What phones, browsers, cameras and meeting services record.
    Container("wav", "WAV, also BWF and RF64", "wav"),
    Container("mp3", "MP3, MP2", "mp3 mp2 mpga"),
    Container("mov", "MP4, QuickTime, 3GP", "mp4 m4a m4b m4v mov 3gp 3g2"),
    Container("matroska", "Matroska, WebM", "mkv mka webm"),
    Container("ogg", "Ogg: Vorbis, Opus, Speex, FLAC", "ogg oga opus spx"),
    Container("flac", "FLAC", "flac"),
    Container("aac", "AAC in ADTS", "aac"),
    Container("mpegts", "MPEG transport stream", "ts m2ts mts"),
    Container("mpeg", "MPEG program stream", "mpg vob"),
    Container("asf", "ASF: Windows Media", "wma wmv asf"),
    Container("avi", "AVI", "avi"),
    Container("flv", "Flash video", "flv"),
    Container("live_flv", "Flash video of a live stream", "flv"),
    Container("aiff", "AIFF", "aiff aif"),
    Container("caf", "Core Audio", "caf"),
    Container("au", "Sun audio", "au snd"),
    Container("w64", "Sony Wave64", "w64"),
    Container("rm", "RealMedia", "rm rmvb ra"),
    Container("ivr", "Internet Video Recording", "ivr"),
    Container("nut", "NUT", "nut"),
    Container("nsv", "Nullsoft video", "nsv"),
    Container("kux", "Youku video", "kux"),
    # Broadcast, studio and television.
    Container("mxf", "MXF", "mxf"),
    Container("gxf", "GXF", "gxf"),
    Container("lxf", "VR native stream", "lxf"),
    Container("dv", "DV", "dv"),
    Container("wtv", "Windows recorded TV", "wtv"),
    Container("ty", "TiVo recording", "ty"),
    Container("pva", "TechnoTrend PVA", "pva"),
    Container("dhav", "Dahua surveillance video", "dav"),
    Container("spdif", "IEC 61937", "spdif"),
    # Telephony, dictation and speech corpora.
    Container("amr", "AMR", "amr"),
    Container("gsm", "GSM", "gsm"),
    Container("g722", "G.722", "g722"),
    Container("g723_1", "G.723.1", "g723_1 tco rco"),
    Container("g729", "G.729", "g729"),
    Container("ilbc", "iLBC", "lbc"),
    Container("act", "ACT voice recorder", "act"),
    Container("dss", "Digital Speech Standard", "dss"),
    Container("qcp", "Qualcomm PureVoice", "qcp"),
    Container("sln", "Asterisk raw audio", "sln"),
    Container("nistsphere", "NIST SPHERE", "nist sph"),
    Container("voc", "Creative Voice", "voc"),
    Container("wve", "Psion 3 audio", "wve"),
    Container("mmf", "Yamaha SMAF", "mmf"),
    Container("sbc", "SBC of Bluetooth", "sbc msbc"),
    Container("aptx", "aptX of Bluetooth", "aptx"),
    Container("aptx_hd", "aptX HD of Bluetooth", "aptxhd"),
    # Music and research.
    Container("ac3", "AC-3", "ac3"),
    Container("eac3", "E-AC-3", "eac3 ec3"),
    Container("dts", "DTS", "dts"),
    Container("dtshd", "DTS-HD", "dtshd"),
    Container("truehd", "TrueHD", "thd"),
    Container("mlp", "Meridian Lossless Packing", "mlp"),
    Container("loas", "AAC in LATM or LOAS", "latm loas"),
    Container("wv", "WavPack", "wv"),
    Container("tta", "True Audio", "tta"),
    Container("ape", "Monkey's Audio", "ape"),
    Container("tak", "TAK", "tak"),
    Container("shn", "Shorten", "shn"),
    Container("osq", "OSQ", "osq"),
    Container("bonk", "Bonk", "bonk"),
    Container("mpc", "Musepack", "mpc"),
    Container("mpc8", "Musepack SV8", "mpc"),
    Container("dsf", "DSD stream file", "dsf"),
    Container("iff", "IFF: 8SVX, DSDIFF", "iff 8svx dff"),
    Container("oma", "Sony OpenMG", "oma omg aa3"),
    Container("aea", "MD STUDIO audio", "aea"),
    Container("vqf", "TwinVQ", "vqf"),
    Container("ircam", "IRCAM sound file", "sf ircam"),
    Container("sox", "SoX native", "sox"),
    Container("pvf", "Portable Voice Format", "pvf"),
    Container("hcom", "Macintosh HCOM", "hcom"),
    Container("avr", "Audio Visual Research", "avr"),
    Container("epaf", "Ensoniq PARIS", "paf fap"),
)

#: For ffmpeg's option -format_whitelist.
WHITELIST = ",".join(container.demuxer for container in CONTAINERS)
