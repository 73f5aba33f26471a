//! Sixty ways to have a notification sent inside: none leads to a connection, as the system itself says.

use std::{fmt::Write as _, process::Command};

use super::{Setup, said, skipped, works};
use crate::sink::Sink;

/// A port that nothing else connects to; what it is connected with can be told from questions to name servers.
const PORT: u16 = 4_999;

/// Hosts that are addresses, however they are written, found when the configuration is read.
const WRITTEN: [&str; 36] = [
    "10.0.0.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "0.0.0.0",
    "0.1.2.3",
    "198.18.0.1",
    "192.0.0.192",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0x7f.1",
    "127.1",
    "0177.0.0.1",
    "2852039166",
    "0xa9fea9fe",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:169.254.169.254]",
    "[::ffff:a00:1]",
    "[::]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fc00::1]",
    "[ff02::1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "user:pass@10.0.0.1",
    "1.1.1.1@192.168.0.1",
];

/// What names lead to, found when they are connected to.
const BEHIND_NAMES: [&str; 22] = [
    "127.0.0.1",
    "127.0.0.2",
    "127.255.255.254",
    "0.0.0.0",
    "10.0.0.1",
    "10.200.3.4",
    "172.16.0.1",
    "172.31.0.9",
    "192.168.0.1",
    "192.168.255.255",
    "169.254.169.254",
    "169.254.170.2",
    "100.64.0.1",
    "100.127.255.254",
    "198.18.0.1",
    "192.0.2.1",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "fd00:ec2::254",
    "fe80::1",
    "64:ff9b::a00:1",
];

/// `localhost` in two ways that are not the plain word, and so are names as others.
const NOT_PLAIN: [&str; 2] = ["localhost.localdomain.test", "rebinding.test"];

const STRACE: [&str; 5] = ["strace", "-f", "-qq", "-e", "trace=connect"];

fn connects(text: &str) -> bool {
    text.contains(&format!("htons({PORT})"))
}

/// A receiver for each of `hosts`.
fn receivers(hosts: impl IntoIterator<Item = String>) -> String {
    let mut text = "receivers:\n".to_owned();
    for (i, host) in hosts.into_iter().enumerate() {
        let url = format!("http://{host}:{PORT}/latest/meta-data");
        writeln!(text, "- {{name: r{i}, webhook_configs: [{{url: '{url}'}}]}}").expect("a text takes it");
    }
    text
}

// F5
#[test]
fn no_address_inside_is_taken_however_it_is_written() {
    if !works(Command::new("strace").args(["-e", "trace=connect", "true"])) {
        return skipped("strace, or the right to use it");
    }
    let setup = Setup::new(&receivers(WRITTEN.map(str::to_owned)));
    let output = setup.notify_test("r0", &STRACE);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    for (i, host) in WRITTEN.iter().enumerate() {
        assert!(text.contains(&format!("webhook/0 of receiver \"r{i}\": ")), "{host} is let through: {text}");
    }
    assert!(!connects(&text), "{text}");
}

// F5
#[tokio::test(flavor = "multi_thread")]
async fn no_name_leads_inside_unless_its_network_is_allowed() {
    if !works(Command::new("unshare").args(["--mount", "strace", "-e", "trace=connect", "true"])) {
        return skipped("strace and unshare, or the right to use them");
    }
    let names: Vec<String> = (0..BEHIND_NAMES.len()).map(|i| format!("name-{i}.test")).collect();
    let mut hosts = "127.0.0.1 localhost\n".to_owned();
    let listed = names.iter().map(String::as_str).zip(BEHIND_NAMES);
    // The last one says another address each time, as a server of names with short memory does: here both at once.
    for (name, address) in listed.chain(NOT_PLAIN.map(|name| (name, "127.0.0.1"))).chain([(NOT_PLAIN[1], "10.0.0.1")]) {
        writeln!(hosts, "{address} {name}").expect("a text takes it");
    }
    let all: Vec<String> = names.into_iter().chain(NOT_PLAIN.map(str::to_owned)).collect();
    assert_eq!(WRITTEN.len() + all.len(), 60);
    let setup = Setup::new(&receivers(all.clone()));
    setup.write("hosts", &hosts);
    // Names mean what the file says for this process only.
    let file = setup.path("hosts").display().to_string();
    let script = format!("mount --bind '{file}' /etc/hosts && exec \"$@\"");
    let within = ["unshare", "--mount", "--propagation", "private", "sh", "-c", &script, "sh"];
    let wrapper: Vec<&str> = within.iter().copied().chain(STRACE).collect();
    let test =
        |setup: &Setup, receiver: &str| tokio::task::block_in_place(|| said(&setup.notify_test(receiver, &wrapper)));
    for (i, name) in all.iter().enumerate() {
        let text = test(&setup, &format!("r{i}"));
        assert!(text.contains("is not a public address"), "{name}: {text}");
        assert!(!connects(&text), "{name}: {text}");
    }
    // Where the network is allowed it is connected to, which shows that the system would have said so; and only there.
    let sink = Sink::listen(200).await;
    let port = sink.port();
    let allowed = Setup::new(&format!(
        "delivery: {{allow: ['127.0.0.1/32']}}\nreceivers: [{{name: ops, webhook_configs: [{{url: 'http://{}:{port}/'}}]}}]\n",
        NOT_PLAIN[1]
    ));
    let text = test(&allowed, "ops");
    assert!(text.contains(&format!("htons({port}), sin_addr=inet_addr(\"127.0.0.1\")")), "{text}");
    assert!(!text.contains(&format!("htons({port}), sin_addr=inet_addr(\"10.0.0.1\")")), "{text}");
}
