//! Hash maps on disk, as sequences in the order of their keys: equal maps are equal bytes, and what is
//! read again does not depend on how they were hashed.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// For `#[serde(with = "crate::sorted")]`.
pub(crate) fn serialize<K, V, H, S>(map: &HashMap<K, V, H>, serializer: S) -> Result<S::Ok, S::Error>
where
    K: Serialize + Ord,
    V: Serialize,
    S: Serializer,
{
    let mut entries: Vec<(&K, &V)> = map.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    serializer.collect_seq(entries)
}

/// For `#[serde(with = "crate::sorted")]`.
pub(crate) fn deserialize<'de, K, V, H, D>(deserializer: D) -> Result<HashMap<K, V, H>, D::Error>
where
    K: Deserialize<'de> + Eq + Hash,
    V: Deserialize<'de>,
    H: BuildHasher + Default,
    D: Deserializer<'de>,
{
    Ok(Vec::deserialize(deserializer)?.into_iter().collect())
}
