//! Times what the store adds to a build step: opening it, and prepare, commit and record of empty steps: `steps DIRECTORY`.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use kiln_cache::{Record, Resource, Store, StoreOptions, name_of};
use kiln_oci::{ChainId, Digest};
use kiln_snapshot::Key;

const STEPS: u32 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).ok_or("usage: steps DIRECTORY")?;
    let root = Path::new(&directory).join(format!("steps{}", std::process::id()));
    let options = StoreOptions::default();
    drop(Store::open(&root, &options)?);
    let mut opening: Vec<Duration> = (0..100).map(|_| open(&root, &options)).collect::<Result<_, _>>()?;
    opening.sort();
    println!("open an existing store: {:?} (median)", opening[opening.len() / 2]);

    let store = Store::open(&root, &options)?;
    let lease = store.leases.create()?;
    let start = Instant::now();
    let mut layers = Vec::new();
    for step in 0..STEPS {
        let key = Key(format!("step-{step}"));
        lease.hold(&Resource::Active(key.clone()))?;
        let chain: Vec<_> = layers.iter().map(|layer: &kiln_cache::LayerRef| layer.diff_id.clone()).collect();
        store.snapshots.prepare(&key, ChainId::of(&chain).map(|chain| name_of(&chain)).as_ref())?;
        layers.push(store.layers.commit(&lease, &key, &chain)?);
        let record = Record { layers: layers.clone(), scope: String::new(), parts: Vec::new() };
        store.records.save(&Digest::of(&step.to_le_bytes()), &record)?;
    }
    println!("an empty step: {:?}", start.elapsed() / STEPS);
    let start = Instant::now();
    for step in 0..STEPS {
        store.records.lookup(&Digest::of(&step.to_le_bytes()))?.ok_or("a record is gone")?;
    }
    println!("a look-up: {:?}", start.elapsed() / STEPS);
    let start = Instant::now();
    store.syncer.sync()?;
    println!("the sync at the end: {:?}", start.elapsed());
    Ok(())
}

fn open(root: &Path, options: &StoreOptions) -> Result<Duration, kiln_cache::Error> {
    let start = Instant::now();
    let store = Store::open(root, options)?;
    let taken = start.elapsed();
    drop(store);
    Ok(taken)
}
