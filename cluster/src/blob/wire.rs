//! What goes over the wire, as what it means, checked.

use bytes::Bytes;
use cairn_proto::v1;

use super::id::{BlobId, Generation};
use super::record::{Code, SegmentId};
use super::shard_error::ShardError;
use super::shard_file::{Seal, ShardName};
use super::tree::SEGMENT_BYTES;

fn refused(what: &str) -> ShardError {
    ShardError::Refused(what.into())
}

pub(super) fn segment_name(id: &SegmentId) -> v1::SegmentName {
    v1::SegmentName {
        generation: Bytes::copy_from_slice(&id.generation.0),
        number: id.number,
    }
}

pub(super) fn segment_id(name: Option<v1::SegmentName>) -> Result<SegmentId, ShardError> {
    let name = name.ok_or_else(|| refused("a segment has no name"))?;
    let generation = name.generation.as_ref().try_into();
    Ok(SegmentId {
        generation: Generation(generation.map_err(|_| refused("a generation has 16 bytes"))?),
        number: name.number,
    })
}

pub(super) fn shard_name(name: &ShardName) -> v1::ShardName {
    v1::ShardName {
        segment: Some(segment_name(&name.id)),
        group: name.group.into(),
        index: name.index.into(),
    }
}

pub(super) fn shard(name: Option<v1::ShardName>) -> Result<ShardName, ShardError> {
    let name = name.ok_or_else(|| refused("a shard has no name"))?;
    Ok(ShardName {
        group: name
            .group
            .try_into()
            .map_err(|_| refused("there is no such group"))?,
        id: segment_id(name.segment)?,
        index: name
            .index
            .try_into()
            .map_err(|_| refused("there is no such shard"))?,
    })
}

/// The beginning of a shard: which it is, how it is coded, and where its segment begins.
pub(super) fn begin(begin: v1::ShardBegin) -> Result<(ShardName, Code, u64), ShardError> {
    let name = shard(begin.name)?;
    let count = |number: u32| number.try_into().map_err(|_| refused("there is no such code"));
    let code = Code {
        data: count(begin.data_shards)?,
        parity: count(begin.parity_shards)?,
    };
    if begin.offset / SEGMENT_BYTES != name.id.number {
        return Err(refused("the segment does not begin there"));
    }
    Ok((name, code, begin.offset))
}

pub(super) fn put_begin(name: &ShardName, code: Code, offset: u64) -> v1::PutShardRequest {
    put_part(v1::put_shard_request::Part::Begin(v1::ShardBegin {
        name: Some(shard_name(name)),
        data_shards: code.data.into(),
        parity_shards: code.parity.into(),
        offset,
    }))
}

pub(super) fn put_cell(content: Bytes, checksum: u64) -> v1::PutShardRequest {
    put_part(v1::put_shard_request::Part::Cell(v1::ShardCell {
        content,
        checksum,
    }))
}

pub(super) fn put_seal(seal: &Seal) -> v1::PutShardRequest {
    put_part(v1::put_shard_request::Part::Seal(v1::ShardSeal {
        len: seal.len,
        hash: Bytes::copy_from_slice(&seal.hash),
        blob: seal.blob.map_or(Bytes::new(), |id| Bytes::copy_from_slice(&id.0)),
    }))
}

fn put_part(part: v1::put_shard_request::Part) -> v1::PutShardRequest {
    v1::PutShardRequest { part: Some(part) }
}

pub(super) fn seal(seal: v1::ShardSeal) -> Result<Seal, ShardError> {
    let hash = |bytes: &Bytes| {
        bytes
            .as_ref()
            .try_into()
            .map_err(|_| refused("a hash has 32 bytes"))
    };
    Ok(Seal {
        len: seal.len,
        hash: hash(&seal.hash)?,
        blob: match seal.blob.is_empty() {
            true => None,
            false => Some(BlobId(hash(&seal.blob)?)),
        },
    })
}
