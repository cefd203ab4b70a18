//! Times the ways between a tar and a directory: `unpack TAR DIRECTORY [ROUNDS [WRITERS]]`.
//!
//! Give a directory on the file system to measure; each round unpacks into a new directory in it, packs that
//! again, and keeps it: deleting would disturb the next round on a journal-less ext4. Remove it afterwards.
//! With WRITERS it only unpacks, with that many.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::sink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use kiln_oci::Digester;
use kiln_snapshot::checksum::{ChecksumOptions, checksum};
use kiln_snapshot::copy::{CopyOptions, copy};
use kiln_snapshot::{ApplyOptions, Piece, Root, TarOptions, apply_pieces, diff_upper, write_tar};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let (Some(tar), Some(base)) = (args.next(), args.next().map(PathBuf::from)) else {
        return Err("usage: unpack TAR DIRECTORY [ROUNDS [WRITERS]]".into());
    };
    let rounds = args.next().and_then(|text| text.to_str()?.parse().ok()).unwrap_or(5);
    let only = args.next().map(|text| text.to_str().unwrap_or_default().parse()).transpose()?;
    let tar: Piece = Arc::new(std::fs::read(tar)?);
    for writers in only.map_or(vec![0, 1, 2], |writers| vec![writers]) {
        let make = |root: &Root| {
            let mut tar = Some(tar.clone());
            apply_pieces(
                || Ok(tar.take()),
                root,
                &ApplyOptions { fresh: true, writers, ..ApplyOptions::default() },
            )
        };
        measure(&format!("apply, {writers} writers"), rounds, |round| {
            let root = fresh(&base, &format!("apply-{writers}-{round}"))?;
            timed(|| make(&root).map(|applied| format!("{applied:?}")))
        })?;
    }
    if only.is_some() {
        return Ok(());
    }
    let tree = Root::open(&base.join("apply-2-0"))?;
    measure("diff", rounds, |_| timed(|| diff_upper(&tree).map(|list| format!("{} changes", list.len()))))?;
    let changes = diff_upper(&tree)?;
    let options = TarOptions::default();
    measure("tar", rounds, |_| {
        timed(|| write_tar(&changes, &tree, sink(), &options).map(|s| format!("{s:?}")))
    })?;
    measure("diff + tar + sha256", rounds, |_| {
        timed(|| {
            let mut digester = Digester::sha256();
            write_tar(&diff_upper(&tree)?, &tree, &mut digester, &options)
                .map(|_| digester.finish().to_string())
        })
    })?;
    measure("checksum", rounds, |_| {
        timed(|| checksum(&tree, Path::new(""), &ChecksumOptions::default()).map(|d| format!("{d:?}")))
    })?;
    measure("copy", rounds, |round| {
        let root = fresh(&base, &format!("copy-{round}"))?;
        timed(|| {
            copy(&tree, Path::new(""), &root, Path::new(""), &CopyOptions::exact()).map(|c| format!("{c:?}"))
        })
    })
}

fn fresh(base: &Path, name: &str) -> Result<Root, Box<dyn Error>> {
    std::fs::create_dir_all(base.join(name))?;
    Ok(Root::open(&base.join(name))?)
}

fn timed(work: impl FnOnce() -> kiln_snapshot::Result<String>) -> Result<(f64, String), Box<dyn Error>> {
    let start = Instant::now();
    let result = work()?;
    Ok((start.elapsed().as_secs_f64() * 1e3, result))
}

fn measure(
    name: &str,
    rounds: usize,
    mut round: impl FnMut(usize) -> Result<(f64, String), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut times = Vec::new();
    let mut result = String::new();
    for at in 0..rounds {
        let (time, text) = round(at)?;
        times.push(time);
        result = text;
    }
    times.sort_by(f64::total_cmp);
    println!("{name:24} {:7.1} ms (from {:.1}) {result}", times[times.len() / 2], times[0]);
    Ok(())
}
