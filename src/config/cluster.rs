//! `cluster`: the nodes that are fed the same, and which of them this one is.

use std::path::Path;

use alerting::{Cluster, WebhookUrl};
use detect::yaml::{Faults, Mapping, Value};

use super::{
    Config,
    file::{positive, set, whole},
    receivers, secrets,
};

/// Reads it; `directory` is that of the file.
pub(super) fn cluster(top: &mut Mapping<'_, '_>, config: &mut Config, directory: &Path, faults: &mut Faults) {
    let Some(value) = top.get("cluster") else { return };
    let Some(mut m) = value.mapping(faults) else { return };
    let listed = m.required("peers", faults).map(|v| v.list(faults));
    let peers: Option<Vec<WebhookUrl>> =
        listed.map(|listed| listed.iter().filter_map(|v| peer(v, faults)).collect::<Vec<_>>());
    let position = m.required("position", faults).and_then(|v| position(&v, directory, faults));
    let mut timeout = Cluster::TIMEOUT;
    set(&mut m, "peer_timeout", faults, positive, &mut timeout);
    let authorization = receivers::authorization(&mut m, directory, faults);
    m.finish(faults);
    let (Some(peers), Some(position)) = (peers, position) else { return };
    match Cluster::new(&peers, position, timeout, authorization) {
        Ok(cluster) => config.delivery.cluster = Some(cluster),
        Err(reason) => faults.add(value.line(), format!("cluster.{reason}")),
    }
}

fn peer(value: &Value<'_, '_>, faults: &mut Faults) -> Option<WebhookUrl> {
    let text = value.text(faults)?;
    WebhookUrl::parse(&text).map_err(|reason| faults.add(value.line(), format!("cluster.peers: {reason}"))).ok()
}

/// A number, or a reference to one: so all nodes can have the same file.
fn position(value: &Value<'_, '_>, directory: &Path, faults: &mut Faults) -> Option<usize> {
    let text = value.text(faults)?;
    let text = match secrets::reference(&text, directory).unwrap_or(Ok(text)) {
        Ok(text) => text,
        Err(reason) => {
            faults.add(value.line(), format!("position: {reason}"));
            return None;
        }
    };
    let found = text.trim().parse::<f64>().ok().filter(|n| n.fract() == 0.0 && (0.0..1e8).contains(n));
    if found.is_none() {
        value.expected("a number from 0, or env:NAME of an environment variable that holds one", faults);
    }
    found.map(|n| whole(n) as usize)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::file::parse;

    const PEERS: &str = "peers: ['http://bw-0:4320', 'http://bw-1:4320', 'http://bw-2:4320']";

    fn read(text: &str) -> Result<u64, String> {
        let config = parse("f", text, Path::new("."));
        let config = config.map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        Ok(config.delivery.turn().as_secs())
    }

    #[test]
    fn the_place_among_the_nodes_says_how_long_one_waits() {
        assert_eq!(read("keep: 1d"), Ok(0));
        assert_eq!(read(&format!("cluster: {{{PEERS}, position: 0}}")), Ok(0));
        assert_eq!(read(&format!("cluster: {{{PEERS}, position: 2}}")), Ok(30));
        assert_eq!(read(&format!("cluster: {{{PEERS}, position: 2, peer_timeout: 10s}}")), Ok(20));
    }

    #[test]
    fn the_place_and_the_credential_may_come_from_elsewhere() {
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        std::fs::write(directory.path().join("index"), "1\n").expect("the directory is writable");
        std::fs::write(directory.path().join("token"), "secret").expect("the directory is writable");
        let credential = "http_config: {authorization: {credentials: 'file:token'}}";
        let text = format!("cluster: {{{PEERS}, position: 'file:index', {credential}}}");
        let config = parse("f", &text, directory.path()).expect("is right");
        assert_eq!(config.delivery.turn().as_secs(), 15);
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_key() {
        for (text, said) in [
            (format!("cluster: {{{PEERS}, position: 3}}"), "cluster.position: expected 0 to 2"),
            (format!("cluster: {{{PEERS}, position: -1}}"), "position"),
            (format!("cluster: {{{PEERS}, position: env:NO_SUCH_VARIABLE}}"), "NO_SUCH_VARIABLE is not set"),
            (format!("cluster: {{{PEERS}}}"), "position"),
            ("cluster: {position: 0}".to_owned(), "peers"),
            ("cluster: {peers: ['http://a:1'], position: 0}".to_owned(), "cluster.peers: expected 2 to 16 nodes"),
            ("cluster: {peers: ['http://a:1', 'a:2'], position: 0}".to_owned(), "cluster.peers: expected"),
            (format!("cluster: {{{PEERS}, position: 0, peer_timeout: 1h}}"), "cluster.peer_timeout: expected 1s to 2m"),
            (format!("cluster: {{{PEERS}, position: 0, timeout: 1s}}"), "timeout"),
        ] {
            let error = read(&text).expect_err(&text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
