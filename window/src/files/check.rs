//! Reading chunk files without taking anything from them.

use std::{fs, io, path::Path};

use super::{Damage, EXTENSION, FileName, read};
use crate::Tables;

/// Reads all chunk files in `dir`, and changes nothing: how many are whole, and what is wrong with the
/// others.
///
/// # Errors
/// When the directory cannot be read.
pub fn check(dir: &Path) -> io::Result<(usize, Vec<Damage>)> {
    let mut paths: Vec<_> = fs::read_dir(dir)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|e| e == EXTENSION));
    paths.sort();
    let (mut whole, mut damages) = (0, Vec::new());
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(FileName::parse);
        let result = match name {
            Some(name) => read(&path, name, &mut Tables::default()),
            None => Err("not the name of a chunk file".to_owned()),
        };
        match result {
            Ok(()) => whole += 1,
            Err(reason) => damages.push(Damage::new(path, reason)),
        }
    }
    Ok((whole, damages))
}
