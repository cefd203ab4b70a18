//! Times the pull path of one layer, from a file to a durable image: `pull LAYER.tar.gz DIRECTORY [ROUNDS]`.
//!
//! Give it a directory on a file system with a journal: on ext4 without one, creating files after deletions is many times
//! slower, which says nothing about this code. A round keeps its store, for the same reason.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use kiln_cache::{Arriving, Store, StoreOptions};
use kiln_oci::compression::decompress;
use kiln_oci::{Descriptor, DiffId, Digester, MediaType};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, layer, directory, rest @ ..] = &arguments[..] else {
        return Err("usage: pull LAYER.tar.gz DIRECTORY [ROUNDS]".into());
    };
    let rounds = rest.first().map_or(Ok(5), |text| text.parse())?;
    let (digest, size) = hash(File::open(layer)?)?;
    let descriptor = Descriptor::new(MediaType::OCI_LAYER_GZIP, digest, size);
    let (diff_id, tar_size) = hash(decompress(BufReader::new(File::open(layer)?)))?;
    println!("{size} bytes packed, {tar_size} bytes of tar");
    for round in 0..rounds {
        let root = Path::new(directory).join(format!("round{}-{round}", std::process::id()));
        let [unpack, sync] = pull(&root, &descriptor, &DiffId(diff_id.clone()), layer)?;
        println!("unpack {unpack:>9.1?}   sync {sync:>9.1?}   both {:>9.1?}", unpack + sync);
    }
    Ok(())
}

fn hash(mut from: impl Read) -> std::io::Result<(kiln_oci::Digest, u64)> {
    let mut digester = Digester::sha256();
    let size = std::io::copy(&mut from, &mut digester)?;
    Ok((digester.finish(), size))
}

fn pull(
    root: &Path,
    blob: &Descriptor,
    diff_id: &DiffId,
    layer: &str,
) -> Result<[Duration; 2], Box<dyn Error>> {
    let store = Store::open(root, &StoreOptions::default())?;
    let lease = store.leases.create()?;
    let start = Instant::now();
    let arriving = Arriving { descriptor: blob, parent: &[], diff_id };
    store.layers.unpack_stream(&lease, arriving, File::open(layer)?)?;
    let unpacked = start.elapsed();
    store.syncer.sync()?;
    Ok([unpacked, start.elapsed() - unpacked])
}
