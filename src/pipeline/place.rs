//! Where a tenant's ledger is: `bellwether.db` of the default tenant, `tenants/<name>/bellwether.db` of another.
//!
//! Some file systems do not tell `Acme` from `acme`. So the name stands there in small letters, and
//! after a `=`, which no tenant's name has, which of them are capital: one hexadecimal digit for four
//! letters, the first one the highest bit. `Acme` is `acme=8`. At most 189 bytes, where 255 are allowed.

use std::{
    io,
    path::{Path, PathBuf},
};

use ingest::Tenant;

/// The directory of all tenants but the default one.
const TENANTS: &str = "tenants";
/// The ledger's file.
const LEDGER: &str = "bellwether.db";
/// The directory of a history.
const HISTORY: &str = "history";

/// Where everything of `tenant` is.
pub(crate) fn directory(data_dir: &Path, tenant: &Tenant) -> PathBuf {
    if *tenant == Tenant::default() {
        return data_dir.to_owned();
    }
    data_dir.join(TENANTS).join(directory_name(tenant))
}

/// Where the ledger of `tenant` is.
pub(super) fn ledger(data_dir: &Path, tenant: &Tenant) -> PathBuf {
    directory(data_dir, tenant).join(LEDGER)
}

/// Where the history of `tenant` is: beside its ledger.
pub(crate) fn history(data_dir: &Path, tenant: &Tenant) -> PathBuf {
    ledger(data_dir, tenant).with_file_name(HISTORY)
}

/// The tenants whose ledgers are there, by name; the default one is left out. What else is there is
/// passed over.
///
/// # Errors
/// When the directory is there and cannot be read.
pub(super) fn tenants(data_dir: &Path) -> io::Result<Vec<Tenant>> {
    let entries = match std::fs::read_dir(data_dir.join(TENANTS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if !entry.path().join(LEDGER).is_file() {
            continue;
        }
        match entry.file_name().to_str().and_then(tenant) {
            Some(tenant) => found.push(tenant),
            None => tracing::warn!(path = %entry.path().display(), "passed over: its name is no tenant's"),
        }
    }
    found.sort();
    Ok(found)
}

fn directory_name(tenant: &Tenant) -> String {
    let name = tenant.as_str();
    let mut out = name.to_ascii_lowercase();
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        out.push('=');
        for four in name.as_bytes().chunks(4) {
            let bits = four.iter().zip([8, 4, 2, 1]).filter(|(b, _)| b.is_ascii_uppercase()).map(|(_, bit)| bit);
            out.push(char::from_digit(bits.sum(), 16).expect("four bits are one digit"));
        }
    }
    out
}

/// The tenant whose directory has this name; `None` when no tenant's has.
fn tenant(directory_name: &str) -> Option<Tenant> {
    let (small, capitals) = directory_name.split_once('=').unwrap_or((directory_name, ""));
    let bit = |i: usize| {
        let digit = capitals.get(i / 4..=i / 4).and_then(|digit| u32::from_str_radix(digit, 16).ok());
        digit.is_some_and(|digit| digit & (8 >> (i % 4)) != 0)
    };
    let letters = small.chars().enumerate();
    let name: String = letters.map(|(i, c)| if bit(i) { c.to_ascii_uppercase() } else { c }).collect();
    // There is one name for each tenant: another spelling would be another file.
    let found = Tenant::new(&name).ok().filter(|found| *found != Tenant::default())?;
    (self::directory_name(&found) == directory_name).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Tenant {
        Tenant::new(name).expect("is a name")
    }

    #[test]
    fn no_two_tenants_share_a_directory_even_where_capitals_are_small() {
        let longest = "Z".repeat(150);
        let names = ["acme", "Acme", "aCme", "ACME", "acme8", "Default", "...", "a'(b)*!.-_", &longest];
        let mut seen: Vec<String> = names.iter().map(|name| directory_name(&named(name)).to_lowercase()).collect();
        assert_eq!(directory_name(&named("Acme")), "acme=8");
        for (name, directory) in names.iter().zip(&seen) {
            assert!(directory.len() <= 255 && !directory.contains('/'), "{directory}");
            assert_eq!(tenant(directory), Some(named(name)));
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), names.len());
    }

    #[test]
    fn what_is_no_tenants_directory_is_passed_over() {
        for name in
            ["default", "Acme", "acme=", "acme=0", "acme=88", "acme=g", "1=8", "acme=8=8", "é", ".", "a b", "=é"]
        {
            assert_eq!(tenant(name), None, "{name}");
        }
        let data = tempfile::tempdir().expect("there is a temporary directory");
        assert_eq!(tenants(data.path()).expect("none is fine"), []);
        for name in ["acme=8", "bank", "empty", "No Tenant"] {
            std::fs::create_dir_all(data.path().join(TENANTS).join(name)).expect("can be made");
            if name != "empty" {
                std::fs::write(data.path().join(TENANTS).join(name).join(LEDGER), "").expect("can be written");
            }
        }
        assert_eq!(tenants(data.path()).expect("can be read"), [named("Acme"), named("bank")]);
    }

    #[test]
    fn the_default_tenants_ledger_stays_where_it_was() {
        let data = Path::new("data");
        assert_eq!(ledger(data, &Tenant::default()), Path::new("data/bellwether.db"));
        assert_eq!(ledger(data, &named("Shop")), Path::new("data/tenants/shop=8/bellwether.db"));
    }
}
