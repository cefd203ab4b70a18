//! The rows of layers and of their packed forms.

use kiln_oci::compression::Packing;
use kiln_oci::{ChainId, Compression, Descriptor, DiffId, Digest, MediaType, chain_ids};
use kiln_snapshot::Name;
use rusqlite::{Connection, OptionalExtension, params};

use super::LayerRef;
use super::restack::alone;
use crate::error::Result;
use crate::lease::{self, Lease, Resource};

/// Bits of the column `compression` below the level.
const LEVEL_SHIFT: u32 = 8;

/// A packed form of a layer.
pub(super) struct Packed {
    pub(super) descriptor: Descriptor,
    pub(super) compression: Compression,
    /// How it was packed, where that was done here.
    pub(super) packing: Option<Packing>,
    /// We saw these bytes unpack to the layer; otherwise somebody's manifest says so.
    pub(super) verified: bool,
}

pub(super) fn insert_layer(
    db: &Connection,
    chain: &ChainId,
    parent: Option<&ChainId>,
    layer: &LayerRef,
    clamp_mtime: Option<i64>,
) -> Result<()> {
    db.prepare_cached(
        "INSERT OR IGNORE INTO layers (chain, parent, diff_id, size, clamp_mtime) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        chain.as_str(),
        parent.map(ChainId::as_str),
        layer.diff_id.as_str(),
        layer.size,
        clamp_mtime
    ])?;
    Ok(())
}

pub(super) fn hold_snapshot(db: &Connection, lease: &Lease, name: &Name) -> Result<()> {
    lease::insert(db, lease.id(), &Resource::Snapshot(name.clone()))
}

/// The bytes of a layer's tar.
pub(super) fn layer_size(db: &Connection, chain: &str) -> Result<Option<u64>> {
    let mut statement = db.prepare_cached("SELECT size FROM layers WHERE chain = ?1")?;
    Ok(statement.query_row([chain], |row| row.get(0)).optional()?)
}

/// The times that a layer was packed with.
pub(super) fn clamp_mtime(db: &Connection, chain: &ChainId) -> Result<Option<i64>> {
    let mut statement = db.prepare_cached("SELECT clamp_mtime FROM layers WHERE chain = ?1")?;
    Ok(statement.query_row([chain.as_str()], |row| row.get(0)).optional()?.flatten())
}

/// Remembers a packed form; what was verified once stays so.
pub(super) fn insert_packed(db: &Connection, diff_id: &DiffId, packed: &Packed) -> Result<()> {
    let Packed { descriptor, compression, packing, verified } = packed;
    db.prepare_cached(
        "INSERT INTO layer_blobs (diff_id, digest, media_type, size, compression, verified)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (diff_id, digest) DO UPDATE
         SET verified = max(verified, excluded.verified), compression = max(compression, excluded.compression)",
    )?
    .execute(params![
        diff_id.as_str(),
        descriptor.digest.as_str(),
        descriptor.media_type.as_str(),
        descriptor.size,
        number(*compression, *packing),
        verified
    ])?;
    Ok(())
}

/// The packed forms of a layer, verified ones first.
pub(super) fn packed(db: &Connection, diff_id: &DiffId) -> Result<Vec<Packed>> {
    let mut statement = db.prepare_cached(
        "SELECT media_type, digest, size, compression, verified FROM layer_blobs WHERE diff_id = ?1
         ORDER BY verified DESC, compression",
    )?;
    let rows = statement.query_map([diff_id.as_str()], |row| {
        let (media_type, digest): (String, String) = (row.get(0)?, row.get(1)?);
        let (size, compression, verified) = (row.get(2)?, row.get(3)?, row.get(4)?);
        Ok(digest.parse().ok().map(|digest| Packed {
            descriptor: Descriptor::new(MediaType::new(media_type), digest, size),
            compression: compression_of(compression),
            packing: packing_of(compression),
            verified,
        }))
    })?;
    Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// Whether the snapshot of these layers is there or can be made: going down from the top, each layer has its snapshot (then
/// it has all below it too), a blob in the store, or a snapshot on nothing.
pub(crate) fn are_available(db: &Connection, layers: &[LayerRef]) -> Result<bool> {
    let diff_ids: Vec<DiffId> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let mut snapshot = db.prepare_cached("SELECT 1 FROM snapshots WHERE name = ?1 AND (kind = 2) = 1")?;
    let mut blob =
        db.prepare_cached("SELECT 1 FROM layer_blobs JOIN blobs USING (digest) WHERE diff_id = ?1")?;
    for (diff_id, chain) in diff_ids.iter().zip(chain_ids(&diff_ids)).rev() {
        if snapshot.exists([chain.as_str()])? {
            return Ok(true);
        }
        if !blob.exists([diff_id.as_str()])? && !snapshot.exists([alone(diff_id).as_str()])? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The digests of all packed forms of a layer.
pub(crate) fn blobs_of_layer(db: &Connection, diff_id: &DiffId) -> Result<Vec<Digest>> {
    let mut statement = db.prepare_cached("SELECT digest FROM layer_blobs WHERE diff_id = ?1")?;
    let rows = statement.query_map([diff_id.as_str()], |row| row.get::<_, String>(0))?;
    Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().filter_map(|text| text.parse().ok()).collect())
}

/// A committed snapshot and those below it.
pub(crate) fn chain_below(db: &Connection, top: Name) -> Result<Vec<Name>> {
    let mut statement = db.prepare_cached(
        "WITH RECURSIVE below (id) AS (
             SELECT id FROM snapshots WHERE name = ?1 AND (kind = 2) = 1
             UNION ALL SELECT parent FROM snapshots JOIN below USING (id) WHERE parent IS NOT NULL
         ) SELECT name FROM snapshots JOIN below USING (id)",
    )?;
    let rows = statement.query_map([&top.0], |row| Ok(Name(row.get(0)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The column `compression`: what it is in the lowest byte, and above it, where it was packed here, its level and one.
pub(super) fn number(compression: Compression, packing: Option<Packing>) -> i64 {
    let kind = match compression {
        Compression::Uncompressed => 0,
        Compression::Gzip => 1,
        Compression::Zstd => 2,
    };
    kind | packing.map_or(0, |packing| (i64::from(packing.level()) + 1) << LEVEL_SHIFT)
}

fn compression_of(number: i64) -> Compression {
    match number & ((1 << LEVEL_SHIFT) - 1) {
        1 => Compression::Gzip,
        2 => Compression::Zstd,
        _ => Compression::Uncompressed,
    }
}

fn packing_of(number: i64) -> Option<Packing> {
    let packing = Packing::of(compression_of(number));
    match (number >> LEVEL_SHIFT) - 1 {
        -1 => None,
        level => Some(packing.at_level(level).unwrap_or(packing)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packing_is_one_number() {
        for compression in [Compression::Uncompressed, Compression::Gzip, Compression::Zstd] {
            let usual = Packing::of(compression);
            assert_eq!(packing_of(number(compression, None)), None);
            assert_eq!(packing_of(number(compression, Some(usual))), Some(usual));
            assert_eq!(compression_of(number(compression, Some(usual))), compression);
        }
        let high = Packing::of(Compression::Zstd).at_level(22).unwrap();
        assert_eq!(packing_of(number(Compression::Zstd, Some(high))), Some(high));
    }
}
