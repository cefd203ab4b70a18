//! Contexts to build: Dockerfiles, and trees of files that look like the source of a program.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Bench;

/// Files of one folder.
const FOLDER: usize = 48;
/// The median and the spread of file sizes: the mean is then 3.6 kB.
const MEDIAN: f64 = 1400.0;
const SPREAD: f64 = 1.38;
/// The largest file.
const LARGEST: f64 = 2e6;
/// How many different words there are; their number decides how well the text compresses.
const WORDS: u64 = 2048;

impl Bench<'_> {
    /// A folder with nothing but a Dockerfile.
    pub(super) fn dockerfile(&self, name: &str, text: &str) -> Result<PathBuf> {
        let folder = self.field.folder(&format!("contexts/{name}"))?;
        fs::write(folder.join("Dockerfile"), text)?;
        Ok(folder)
    }

    /// The folder `name` with a Dockerfile and `count` files, which are other ones for each `seed`.
    pub(super) fn tree(&self, name: &str, count: usize, seed: u64, dockerfile: &str) -> Result<PathBuf> {
        let folder = self.dockerfile(name, dockerfile)?;
        write_tree(&folder, count, seed)?;
        Ok(folder)
    }
}

/// Adds a line to one file in the middle of a tree.
pub(super) fn change(tree: &Path, salt: &str) -> Result<()> {
    let folder = tree.join("src0");
    fs::write(folder.join("file0.txt"), format!("changed {salt}\n"))?;
    Ok(())
}

fn write_tree(folder: &Path, count: usize, seed: u64) -> Result<()> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut text = String::new();
    for number in 0..count {
        let within = folder.join(format!("src{}", number / FOLDER));
        if number % FOLDER == 0 {
            fs::create_dir_all(&within)?;
        }
        random.text(&mut text);
        fs::write(within.join(format!("file{}.txt", number % FOLDER)), &text)?;
    }
    Ok(())
}

/// Numbers that are the same for the same seed (xorshift64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A size whose logarithm is as good as normally distributed.
    fn size(&mut self) -> usize {
        let normal = (0..12).map(|_| self.unit()).sum::<f64>() - 6.0;
        (MEDIAN * (SPREAD * normal).exp()).min(LARGEST) as usize
    }

    fn text(&mut self, text: &mut String) {
        let size = self.size();
        text.clear();
        while text.len() < size {
            let word = self.next() % WORDS;
            // Writing to a string cannot fail.
            let _ = write!(text, "{:x} ", word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 36);
        }
        text.push('\n');
    }
}
