"""The names under which GPUs, their nodes and queues find each other, within a fleet of mixed versions."""

from __future__ import annotations

import pytest

from whisper_fleet.shared.names import GpuName, NodeName

GPU = GpuName("box", 1)


def test_a_gpu_names_its_id_queue_node_socket_and_selector() -> None:
    assert (str(GPU), GPU.queue, str(GPU.node())) == ("box.1", "gpu.box.1", "gpu1@box")
    assert (GPU.engine_socket, GPU.selector) == ("engine-box-1.sock", "box:1")


@pytest.mark.parametrize("gpu", [GPU, GpuName("a.domain.org", 12)])
def test_an_id_is_read_as_it_was_written_also_of_a_host_with_dots(gpu: GpuName) -> None:
    assert GpuName.parse(str(gpu)) == gpu


@pytest.mark.parametrize("gpu_id", ["box", "box.", "box.x", ""])
def test_what_names_no_index_is_not_an_id(gpu_id: str) -> None:
    with pytest.raises(ValueError, match="int"):
        GpuName.parse(gpu_id)


def test_several_nodes_of_a_gpu_have_names_of_their_own_and_the_first_has_the_name_of_before() -> None:
    assert [str(NodeName(GPU, worker)) for worker in (0, 1, 2)] == ["gpu1@box", "gpu1.1@box", "gpu1.2@box"]
