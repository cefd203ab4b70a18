//! Statements about images: made by a build, kept with it, pushed, pulled and removed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Kiln, registry, tool};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const IN_TOTO: &str = "application/vnd.in-toto+json";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
const SPDX: &str = "https://spdx.dev/Document";

/// An image that lists its packages itself.
const PACKAGES: &str = "\
FROM debian
ARG VERSION
RUN dpkg-query --show --showformat '${Package} ${Version} ${Architecture}\\n' > /packages
";

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What `inspect` tells of an image.
fn inspected(kiln: &Kiln, image: &str) -> Value {
    parse(&kiln.ok(&["inspect", "--type", "image", image]))[0].clone()
}

fn provenance(kiln: &Kiln, image: &str) -> Value {
    parse(&kiln.inspect(image, "{{json .Provenance}}"))["SLSA"].clone()
}

fn sbom(kiln: &Kiln, image: &str) -> Value {
    parse(&kiln.inspect(image, "{{json .SBOM}}"))["SPDX"].clone()
}

/// What the registry has under a tag or digest of an image's repository.
fn raw(name: &str) -> Value {
    parse(&tool("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]))
}

fn digest_of(name: &str) -> String {
    let from = format!("docker://{name}");
    tool("skopeo", &["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &from])
}

/// The statement that an artifact of the registry has, fetched by `curl` as anybody would.
fn statement(repository: &str, artifact: &Value) -> Value {
    let digest = artifact["layers"][0]["digest"].as_str().unwrap();
    let url = format!("http://{}/v2/{repository}/blobs/{digest}", registry());
    parse(&tool("curl", &["--silent", "--fail", "--location", &url]))
}

fn blobs(kiln: &Kiln) -> usize {
    fs::read_dir(kiln.root().join("blobs/sha256")).unwrap().count()
}

#[test]
fn what_an_image_is_made_of_is_said_of_it_wherever_it_goes() {
    let kiln = Kiln::new();
    let repository = format!("e2e/attested-{}", std::process::id());
    let name = format!("{}/{repository}:1", registry());
    let context = kiln.context("packages", &[("Dockerfile", PACKAGES)]);
    kiln.build(&name, &context, &["--provenance", "--sbom", "--build-arg", "VERSION=7"]);

    let image = inspected(&kiln, &name);
    assert_eq!(
        image["Descriptor"]["mediaType"], MANIFEST,
        "an image that is asked for one platform is no index"
    );
    let kinds: BTreeSet<&str> = image["Attestations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["PredicateType"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, BTreeSet::from([PROVENANCE, SPDX]));

    let listed: BTreeSet<String> = kiln.sh(&name, "cat /packages").lines().map(str::to_owned).collect();
    let document = sbom(&kiln, &name);
    let found: BTreeSet<String> =
        document["packages"].as_array().unwrap().iter().filter_map(debian_package).collect();
    assert!(listed.len() > 50, "{listed:?}");
    assert_eq!(found, listed);

    let said = provenance(&kiln, &name);
    let definition = &said["buildDefinition"];
    assert_eq!(definition["externalParameters"]["request"]["args"]["build-arg:VERSION"], "7");
    let base = definition["resolvedDependencies"][0]["uri"].as_str().unwrap();
    assert!(base.starts_with("pkg:docker/debian@latest?platform=linux%2F"), "{base}");
    let steps = definition["internalParameters"]["buildConfig"]["llbDefinition"].as_array().unwrap();
    assert!(steps.last().unwrap()["op"]["Op"]["exec"]["meta"]["args"].to_string().contains("dpkg-query"));

    kiln.ok(&["push", &name]);
    let pushed = digest_of(&name);
    // This registry knows nothing of referrers, so they are under the tag that stands in.
    let tag = format!("{}/{repository}:{}", registry(), pushed.replace(':', "-"));
    let entries = raw(&tag)["manifests"].as_array().unwrap().clone();
    assert_eq!(entries.len(), 2);
    for entry in &entries {
        assert_eq!(entry["artifactType"], IN_TOTO);
        let artifact = raw(&format!("{}/{repository}@{}", registry(), entry["digest"].as_str().unwrap()));
        assert_eq!(artifact["subject"]["digest"], pushed.as_str());
        let statement = statement(&repository, &artifact);
        assert_eq!(statement["predicateType"], entry["annotations"]["in-toto.io/predicate-type"]);
        let subject = &statement["subject"][0];
        assert_eq!(format!("sha256:{}", subject["digest"]["sha256"].as_str().unwrap()), pushed);
        let purl = subject["name"].as_str().unwrap();
        assert!(purl.starts_with(&format!("pkg:docker/{}/{repository}@1?", registry())), "{purl}");
    }
    kiln.ok(&["push", &name]);
    assert_eq!(raw(&tag)["manifests"].as_array().unwrap().len(), 2, "pushed again they are the same");

    let other = Kiln::new();
    other.ok(&["pull", &name]);
    assert_eq!(provenance(&other, &name), said);
    assert_eq!(sbom(&other, &name), document);
    other.ok(&["system", "prune", "--force"]);
    assert_eq!(provenance(&other, &name), said, "what is said stays as long as the image");
    other.ok(&["rmi", &name]);
    other.ok(&["system", "prune", "--force"]);
    assert_eq!(blobs(&other), 0, "and goes with it");
}

/// `name version architecture` of a Debian package in an SPDX document.
fn debian_package(package: &Value) -> Option<String> {
    let purl = package["externalRefs"][0]["referenceLocator"].as_str()?;
    let arch = purl.strip_prefix("pkg:deb/debian/")?.split_once("arch=")?.1.split('&').next()?;
    Some(format!("{} {} {arch}", package["name"].as_str()?, package["versionInfo"].as_str()?))
}

#[test]
fn on_request_statements_are_entries_of_an_index() {
    let kiln = Kiln::new();
    let repository = format!("e2e/attested-index-{}", std::process::id());
    let name = format!("{}/{repository}:1", registry());
    let context = kiln.context("index", &[("Dockerfile", "FROM busybox\nRUN echo x > /x\n")]);
    kiln.build(&name, &context, &["--attest", "type=provenance,mode=min,form=index", "--sbom", "--push"]);
    let index = raw(&name);
    assert_eq!(index["mediaType"], INDEX);
    let [image, statements] = &index["manifests"].as_array().unwrap()[..] else { panic!("{index}") };
    assert_eq!(statements["platform"], json!({ "architecture": "unknown", "os": "unknown" }));
    let annotations = json!({
        "vnd.docker.reference.digest": image["digest"],
        "vnd.docker.reference.type": "attestation-manifest",
    });
    assert_eq!(statements["annotations"], annotations);
    let manifest = raw(&format!("{}/{repository}@{}", registry(), statements["digest"].as_str().unwrap()));
    assert_eq!(manifest["subject"]["digest"], image["digest"]);
    let kinds: Vec<&Value> = manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| &layer["annotations"]["in-toto.io/predicate-type"])
        .collect();
    assert_eq!(kinds, [PROVENANCE, SPDX]);
    let said = statement(&repository, &manifest);
    let hex = said["subject"][0]["digest"]["sha256"].as_str().unwrap();
    assert_eq!(image["digest"], format!("sha256:{hex}"));
    // Who wants the image gets the image.
    assert!(
        tool("skopeo", &["inspect", "--tls-verify=false", &format!("docker://{name}")]).contains("Layers")
    );

    let other = Kiln::new();
    other.ok(&["pull", &name]);
    assert_eq!(provenance(&other, &name), said["predicate"]);
    assert_eq!(other.sh(&name, "cat /x"), "x");
    let archive = other.scratch("out").join("saved.tar");
    other.ok(&["save", "-o", archive.to_str().unwrap(), &name]);
    let third = Kiln::new();
    third.ok(&["load", "-i", archive.to_str().unwrap()]);
    assert_eq!(provenance(&third, &name), said["predicate"]);

    let elsewhere = format!("{}/{repository}-on:1", registry());
    other.ok(&["tag", &name, &elsewhere]);
    other.ok(&["push", &elsewhere]);
    assert_eq!(digest_of(&elsewhere), digest_of(&name), "the very index");
}

#[test]
fn files_have_their_statements_beside_them() {
    let kiln = Kiln::new();
    let dockerfile = "FROM scratch\nCOPY a /dir/a\n";
    let context = kiln.context("files", &[("Dockerfile", dockerfile), ("a", "text")]);
    let out = kiln.scratch("out");
    let both = ["--provenance=mode=min", "--sbom"];
    let folder = out.join("folder");
    kiln.build("x", &context, &[&both[..], &["-o", folder.to_str().unwrap()]].concat());
    let said = parse(&fs::read_to_string(folder.join("provenance.json")).unwrap());
    assert_eq!((&said["predicateType"], &said["subject"][0]["name"]), (&json!(PROVENANCE), &json!("dir/a")));
    let hex = "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1";
    assert_eq!(said["subject"][0]["digest"]["sha256"], hex);
    assert_eq!(
        said["predicate"]["buildDefinition"]["externalParameters"]["request"]["locals"][0]["name"],
        "context"
    );
    let listed = parse(&fs::read_to_string(folder.join("sbom.spdx.json")).unwrap());
    assert_eq!(listed["predicate"]["spdxVersion"], "SPDX-2.3");

    let tar = out.join("files.tar");
    kiln.build("x", &context, &[&both[..], &["-o", &format!("type=tar,dest={}", tar.display())]].concat());
    let names = tool("tar", &["-tf", tar.to_str().unwrap()]);
    assert_eq!(names.lines().collect::<Vec<_>>(), ["dir/", "dir/a", "provenance.json", "sbom.spdx.json"]);

    let inline = ["--provenance=inline-only=true", "-o"];
    let plain = out.join("plain");
    kiln.build("x", &context, &[&inline[..], &[plain.to_str().unwrap()]].concat());
    assert!(!plain.join("provenance.json").exists());

    let prefixed = format!("type=local,dest={},attestation-prefix=app-", out.join("prefixed").display());
    kiln.build("x", &context, &["--sbom", "-o", &prefixed]);
    assert!(out.join("prefixed/app-sbom.spdx.json").exists());

    let oci = out.join("oci.tar");
    kiln.build("x", &context, &[&both[..], &["-o", &format!("type=oci,dest={}", oci.display())]].concat());
    assert_eq!(entries_of(&oci), 2, "an archive has nobody to list referrers");
    let docker = format!("type=docker,dest={}", out.join("docker.tar").display());
    let said = kiln.fails(1, &["build", "--sbom", "-o", &docker, context.to_str().unwrap()]);
    assert!(said.contains("type=docker") && said.contains("hint: "), "{said}");
}

/// How many entries the index of an archive's image has.
fn entries_of(archive: &Path) -> usize {
    let read = |path: &str| parse(&tool("tar", &["-xOf", archive.to_str().unwrap(), path]));
    let digest = read("index.json")["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
    read(&format!("blobs/{digest}"))["manifests"].as_array().unwrap().len()
}

#[test]
fn with_a_time_given_the_statements_are_the_same_each_time() {
    let kiln = Kiln::new();
    let context = kiln.context("epoch", &[("Dockerfile", "FROM busybox\nRUN echo x > /x\n")]);
    let made = || {
        let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=1700000000", "--provenance", "--sbom"];
        kiln.build("app", &context, &epoch);
        inspected(&kiln, "app")["Attestations"].clone()
    };
    let first = made();
    assert_eq!(made(), first);
    assert_eq!(first.as_array().unwrap().len(), 2);
    let metadata = provenance(&kiln, "app")["runDetails"]["metadata"].clone();
    assert_eq!(metadata["startedOn"], "2023-11-14T22:13:20Z");
    assert_eq!(metadata["invocationID"], Value::Null);
    assert_eq!(sbom(&kiln, "app")["creationInfo"]["created"], "2023-11-14T22:13:20Z");
}

#[test]
fn nothing_is_said_unless_somebody_asks() {
    let kiln = Kiln::new();
    let repository = format!("e2e/plain-{}", std::process::id());
    let name = format!("{}/{repository}:1", registry());
    kiln.build_text(&name, "FROM busybox\nRUN echo x > /x\n");
    assert_eq!(inspected(&kiln, &name)["Attestations"], Value::Null);
    kiln.ok(&["push", &name]);
    assert_eq!(raw(&name)["mediaType"], MANIFEST);
    let tags = format!("http://{}/v2/{repository}/tags/list", registry());
    assert_eq!(parse(&tool("curl", &["--silent", "--fail", &tags]))["tags"], json!(["1"]));
    let context = kiln.context("refused", &[("Dockerfile", "FROM scratch\n")]);
    let said = kiln.fails(1, &["build", "--sbom=generator=scanner", context.to_str().unwrap()]);
    assert!(said.contains("runs no generator"), "{said}");
}
