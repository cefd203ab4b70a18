"""What people do with Testcontainers for Python, against the daemon that DOCKER_HOST names; KILN_TEST_REGISTRY has `busybox`.

Its reaper is left out: it is an image of somebody else's registry.
"""

import io
import os
import tarfile
import tempfile

from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient
from testcontainers.core.image import DockerImage
from testcontainers.core.waiting_utils import wait_for_logs

registry = os.environ["KILN_TEST_REGISTRY"]
client = DockerClient().client
assert client.ping()
assert client.version()["ApiVersion"].startswith("1.")

client.volumes.create("tc")
holder = DockerContainer("busybox").with_command("sh -c 'echo ready; exec sleep 1000'")
with holder.with_env("A", "b").with_volume_mapping("tc", "/v", "rw") as it:
    wait_for_logs(it, "ready", timeout=30)
    for _ in range(20):
        said = it.exec(["echo", "quick"])
        assert (said.exit_code, said.output) == (0, b"quick\n"), said
    assert it.exec(["sh", "-c", "echo $A; exit 4"]) == (4, b"b\n")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo("file")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"there"))
    wrapped = it.get_wrapped_container()
    assert wrapped.put_archive("/v", packed.getvalue())
    assert it.exec(["cat", "/v/file"]).output == b"there"
    pieces, stat = wrapped.get_archive("/v/file")
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        assert tar.extractfile("file").read() == b"there"
    name = wrapped.name
assert name not in [it.name for it in client.containers.list(all=True)], "it is removed at the end"
client.volumes.get("tc").remove()

with tempfile.TemporaryDirectory() as context:
    with open(f"{context}/Dockerfile", "w") as dockerfile:
        dockerfile.write("FROM busybox\nRUN echo built > /built\nCMD cat /built; sleep 1000\n")
    with DockerImage(path=context, tag="tc:1", clean_up=False) as image:
        with DockerContainer(str(image)) as it:
            wait_for_logs(it, "built", timeout=30)
        away = f"{registry}/testcontainers/test"
        client.images.get("tc:1").tag(away, tag="1")
        assert "error" not in client.images.push(away, tag="1")
        client.images.remove(f"{away}:1")
        client.images.pull(away, tag="1")
print("Testcontainers is content")
