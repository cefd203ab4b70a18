"""What people do with docker-py, against the daemon that DOCKER_HOST names; it has the image `busybox`."""

import io
import tarfile
import time

import docker

client = docker.from_env()


def has(what, part):
    assert part in what, f"{part!r} is not in {what!r}"


def fails(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected")


assert client.ping()
has(client.version()["ApiVersion"], "1.")
has(client.images.pull("busybox", tag="latest").tags, "busybox:latest")

# A container that is gone when it is over, and one that fails.
assert client.containers.run("busybox", ["echo", "hi"], remove=True) == b"hi\n"
failure = fails(
    docker.errors.ContainerError,
    lambda: client.containers.run("busybox", ["sh", "-c", "echo bad >&2; exit 3"], remove=True),
)
assert failure.exit_status == 3, failure
has(failure.stderr, b"bad")

# The life of another one.
ticking = client.containers.run(
    "busybox", ["sh", "-c", "while :; do echo tick; sleep 0.1; done"], detach=True, name="ticking", labels={"a": "b"}
)
assert [it.name for it in client.containers.list(filters={"label": "a=b"})] == ["ticking"]
for _ in range(20):
    said = ticking.exec_run(["echo", "said"])
    assert (said.exit_code, said.output) == (0, b"said\n"), said
assert ticking.exec_run(["sh", "-c", "exit 4"]).exit_code == 4
lines = ticking.logs(stream=True, follow=True)
assert [next(lines) for _ in range(3)] == [b"tick\n"] * 3
ticking.pause()
ticking.reload()
assert ticking.status == "paused", ticking.status
ticking.unpause()
has(ticking.top()["Titles"], "PID")
ticking.rename("renamed")
ticking.restart(timeout=0)
ticking.stop(timeout=0)
assert ticking.wait()["StatusCode"] == 137
ticking.remove()
fails(docker.errors.NotFound, ticking.reload)

# An image that is built, run, saved and loaded again.
dockerfile = io.BytesIO(b"FROM busybox\nRUN echo built > /built\nCMD cat /built\n")
image, log = client.images.build(fileobj=dockerfile, tag="py:1", rm=True)
has("".join(line.get("stream", "") for line in log), "Successfully tagged py:1")
assert client.containers.run("py:1", remove=True) == b"built\n"
archive = b"".join(image.save(named="py:1"))
client.images.remove("py:1")
fails(docker.errors.ImageNotFound, lambda: client.images.get("py:1"))
assert client.images.load(archive)[0].tags == ["py:1"]
broken = io.BytesIO(b"FROM busybox\nRUN exit 5\n")
has(str(fails(docker.errors.BuildError, lambda: client.images.build(fileobj=broken))), "5")

# Files in and out, of one that runs and of one that does not.
holder = client.containers.run("busybox", ["sleep", "1000"], detach=True)
packed = io.BytesIO()
with tarfile.open(fileobj=packed, mode="w") as tar:
    entry = tarfile.TarInfo("sent/file")
    entry.size = 5
    tar.addfile(entry, io.BytesIO(b"there"))
assert holder.put_archive("/tmp", packed.getvalue())
assert holder.exec_run(["cat", "/tmp/sent/file"]).output == b"there"
holder.stop(timeout=0)
pieces, stat = holder.get_archive("/tmp/sent")
assert stat["name"] == "sent" and stat["mode"] >> 31 == 1, stat
with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
    assert tar.extractfile("sent/file").read() == b"there"
fails(docker.errors.NotFound, lambda: holder.get_archive("/absent"))
holder.remove()

# A volume, and what happened so far.
volume = client.volumes.create("py")
mounts = {"py": {"bind": "/v", "mode": "rw"}}
client.containers.run("busybox", ["sh", "-c", "echo kept > /v/file"], volumes=mounts, remove=True)
assert client.containers.run("busybox", ["cat", "/v/file"], volumes=mounts, remove=True) == b"kept\n"
volume.remove()
now = int(time.time())
events = client.events(since=now - 60, until=now + 1, decode=True)
has([(event["Type"], event["Action"]) for event in events], ("container", "start"))
print("docker-py is content")
