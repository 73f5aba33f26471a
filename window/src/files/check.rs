//! Reading chunk files without taking anything from them.

use std::{cmp::Reverse, fs, io, path::Path};

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

/// The rows of all checkpoints up to `checkpoint`, as [`super::ChunkFiles::load`] reads them, but nothing in `dir` is
/// changed: it may be that of a window that is in use.
///
/// # Errors
/// When the directory cannot be read; [`io::ErrorKind::NotFound`] also when a file went while they were read, because
/// its window has let go of its rows or merged it into another: a newer state names the files that there are now.
pub fn peek(dir: &Path, checkpoint: u64) -> io::Result<(Tables, Vec<Damage>)> {
    let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_str().and_then(FileName::parse)));
    let mut names: Vec<FileName> = names.filter_map(Result::transpose).collect::<io::Result<_>>()?;
    names.retain(|name| name.last <= checkpoint);
    // Those that cover most come first, so that parts of a whole merged file are not read.
    names.sort_by_key(|name| (name.table, name.first, Reverse(name.last), name.part));
    let (mut tables, mut damages, mut whole) = (Tables::default(), Vec::new(), Vec::<FileName>::new());
    for name in names {
        if whole.iter().any(|one| one.replaces(&name)) {
            continue;
        }
        let path = dir.join(name.to_string());
        match read(&path, name, &mut tables) {
            Ok(()) => whole.push(name),
            Err(_) if !path.try_exists()? => {
                return Err(io::Error::new(io::ErrorKind::NotFound, path.display().to_string()));
            }
            Err(reason) => damages.push(Damage::new(path, reason)),
        }
    }
    Ok((tables, damages))
}
