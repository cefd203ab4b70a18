// What people do with dockerode, against the daemon that DOCKER_HOST names; KILN_TEST_REGISTRY has the image `busybox`.
const assert = require("node:assert");
const { once } = require("node:events");
const { PassThrough } = require("node:stream");
const { buffer } = require("node:stream/consumers");
const Docker = require("dockerode");
const tar = require("tar-stream");

const docker = new Docker();
const registry = process.env.KILN_TEST_REGISTRY;

const finished = (stream) =>
  new Promise((resolve, reject) => docker.modem.followProgress(stream, (error, out) => (error ? reject(error) : resolve(out))));

const packed = async (files) => {
  const pack = tar.pack();
  for (const [name, text] of Object.entries(files)) pack.entry({ name }, text);
  pack.finalize();
  return buffer(pack);
};

const split = async (stream) => {
  const [out, err] = [new PassThrough(), new PassThrough()];
  docker.modem.demuxStream(stream, out, err);
  stream.on("end", () => [out, err].forEach((one) => one.end()));
  return (await Promise.all([buffer(out), buffer(err)])).map(String);
};

const said = async (container, ...Cmd) => {
  const exec = await container.exec({ Cmd, AttachStdout: true, AttachStderr: true });
  const spoken = await split(await exec.start({ hijack: true, stdin: false }));
  return [...spoken, (await exec.inspect()).ExitCode];
};

(async () => {
  assert.equal(String(await docker.ping()), "OK");
  assert.match((await docker.version()).ApiVersion, /^1\./);
  await finished(await docker.pull("busybox:latest"));

  // An image that is built, named, sent away and fetched again.
  const context = await packed({ Dockerfile: "FROM busybox\nRUN echo built > /built\nCMD cat /built\n" });
  const log = await finished(await docker.buildImage(context, { t: "node:1" }));
  assert.match(log.map((line) => line.stream ?? "").join(""), /Successfully tagged node:1/);
  const broken = await packed({ Dockerfile: "FROM busybox\nRUN exit 5\n" });
  const failure = await finished(await docker.buildImage(broken, {})).then((out) => out.at(-1), (error) => error);
  assert.equal((failure.errorDetail ?? { code: 5 }).code, 5);
  const name = `${registry}/dockerode/test`;
  await docker.getImage("node:1").tag({ repo: name, tag: "1" });
  await finished(await docker.getImage(`${name}:1`).push({ authconfig: {} }));
  await docker.getImage(`${name}:1`).remove();
  await finished(await docker.pull(`${name}:1`));

  // A container's life, its output from the first byte, and what is executed in it.
  const output = new PassThrough();
  const [end, ran] = await docker.run("node:1", [], [output, output], { Tty: false });
  // The end is told on another connection than the output.
  const [text] = output.readableLength ? [output.read()] : await once(output, "data");
  assert.deepEqual([end.StatusCode, String(text)], [0, "built\n"]);
  await ran.remove();
  const volume = await docker.createVolume({ Name: "node" });
  const container = await docker.createContainer({
    Image: "busybox",
    Cmd: ["sh", "-c", "echo out; echo err >&2; exec sleep 1000"],
    HostConfig: { Binds: ["node:/v"] },
  });
  await container.start();
  for (let i = 0; i < 20; i++) assert.deepEqual(await said(container, "echo", "quick"), ["quick\n", "", 0]);
  assert.deepEqual(await said(container, "sh", "-c", "echo bad >&2; exit 4"), ["", "bad\n", 4]);
  assert.match(String(await container.logs({ stdout: true, stderr: true })), /out/);

  // Files in and out.
  await container.putArchive(await packed({ "sent/file": "there" }), { path: "/v" });
  assert.deepEqual(await said(container, "cat", "/v/sent/file"), ["there", "", 0]);
  const files = {};
  const extract = tar.extract();
  extract.on("entry", async (header, stream, next) => {
    files[header.name] = String(await buffer(stream));
    next();
  });
  (await container.getArchive({ path: "/v/sent" })).pipe(extract);
  await new Promise((resolve) => extract.on("finish", resolve));
  assert.equal(files["sent/file"], "there");
  await assert.rejects(container.getArchive({ path: "/absent" }), { statusCode: 404 });

  await container.stop({ t: 0 });
  assert.equal((await container.wait()).StatusCode, 137);
  await container.remove();
  await volume.remove();
  await assert.rejects(container.inspect(), { statusCode: 404 });
  console.log("dockerode is content");
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
