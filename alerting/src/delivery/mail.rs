//! Handing mail to a server.

use std::time::Duration;

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Tokio1Executor,
    transport::smtp::{
        authentication::Credentials,
        client::{Tls, TlsParameters},
        extension::ClientId,
    },
};

use super::{
    attempt::{Failure, Reaction, broken, chain, quote},
    destinations::Destinations,
};
use crate::{Email, Target, TlsMode, integration::Mail};

/// Sends one letter over a connection of its own.
pub(super) async fn send(destinations: &Destinations, email: &Email, mail: Mail, timeout: Duration) -> Reaction {
    let redactor = Target::Email(email.clone()).redactor();
    let host = &email.smarthost;
    let address = match destinations.resolve(&host.host, host.port).await {
        Ok(found) => found[0].ip(),
        Err(error) => return broken(error),
    };
    // The address that was checked is connected to; the certificate must be for the name.
    let tls = match (email.tls, TlsParameters::new(host.host.clone())) {
        (TlsMode::Off, _) => Tls::None,
        (TlsMode::Required, Ok(parameters)) => Tls::Required(parameters),
        (TlsMode::Implicit, Ok(parameters)) => Tls::Wrapper(parameters),
        (_, Err(error)) => return broken(format!("no TLS: {}", chain(&error))),
    };
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.to_string())
        .port(host.port)
        .tls(tls)
        .timeout(Some(timeout))
        .hello_name(ClientId::Domain(email.hello.clone()));
    if let Some(auth) = &email.auth {
        let credentials = Credentials::new(auth.username.clone(), auth.password.reveal().to_owned());
        transport = transport.credentials(credentials);
    }
    match transport.build().send(mail.letter).await {
        Ok(response) => Reaction::Taken { status: u16::from(response.code()).into() },
        Err(error) => {
            let status = error.status().map(u16::from);
            let error = quote(&redactor.redact(&chain(&error)));
            Reaction::Failed { status, error, after: None, kind: Failure::Broken }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
        net::TcpListener,
    };

    use super::{super::consent::Consent, *};
    use crate::{Integration, MailAuth, Secret, Smarthost, clock, delivery::attempt::Sender, ledger::Due};

    /// A server that takes one mail, or says at `MAIL` that it does not; what it was told.
    async fn server(refusal: Option<&'static str>) -> (Smarthost, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("is bound");
        let told = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("is connected to");
            let mut stream = BufReader::new(stream);
            let mut told: Vec<String> = Vec::new();
            let (mut answer, mut is_data) = ("220 here", false);
            loop {
                if !answer.is_empty() {
                    stream.write_all(format!("{answer}\r\n").as_bytes()).await.expect("is written");
                }
                let mut line = String::new();
                if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                    return told;
                }
                let line = line.trim_end().to_owned();
                answer = match line.split(' ').next().unwrap_or_default() {
                    "." => {
                        is_data = false;
                        "250 taken"
                    }
                    _ if is_data => "",
                    "EHLO" => "250-here\r\n250 AUTH PLAIN",
                    "AUTH" => "235 you are",
                    "MAIL" => refusal.unwrap_or("250 go on"),
                    "DATA" => {
                        is_data = true;
                        "354 go on"
                    }
                    "QUIT" => "221 bye",
                    _ => "250 well",
                };
                told.push(line);
            }
        });
        (Smarthost { host: address.ip().to_string(), port: address.port() }, told)
    }

    fn email(smarthost: Smarthost) -> Email {
        let boxes = |text| Email::mailboxes(text).expect("are mailboxes");
        let auth = Some(MailAuth { username: "u".into(), password: Secret::new("pa55word") });
        let (from, to) = (boxes("bw@example.com").remove(0), boxes("a@example.com, b@example.com"));
        Email { smarthost, tls: TlsMode::Off, from, to, auth, hello: "bw.example.com".into() }
    }

    async fn sent(email: Email, destinations: &Destinations) -> Reaction {
        let payload = r#"{"status": "firing", "alerts": [{"status": "firing", "annotations": {"summary": "slow"}}]}"#;
        let (id, episode, payload) = ("msg_1".to_owned(), "e1".to_owned(), payload.to_owned());
        let now = clock::now();
        let due = Due { id, episode, payload, attempts: 0, since: now, created: now };
        let sender = Sender::new(destinations, std::sync::Arc::default()).expect("starts");
        let (mailbox, timeout) = (Integration::new("email/0", Target::Email(email)), Duration::from_secs(20));
        sender.send(&mailbox, &due, &Consent::default(), (usize::MAX, timeout)).await
    }

    #[tokio::test]
    async fn a_mail_is_handed_to_the_server_for_everybody_it_is_for() {
        let (smarthost, told) = server(None).await;
        assert_eq!(sent(email(smarthost), &Destinations::default()).await, Reaction::Taken { status: Some(250) });
        let told = told.await.expect("the server does not panic");
        for line in [
            "EHLO bw.example.com",
            "RCPT TO:<a@example.com>",
            "RCPT TO:<b@example.com>",
            "Message-ID: <msg_1@example.com>",
        ] {
            assert!(told.iter().any(|said| said == line), "{line}: {told:#?}");
        }
        assert!(told.iter().any(|line| line.starts_with("AUTH PLAIN ")), "{told:#?}");
    }

    #[tokio::test]
    async fn a_refusal_is_told_with_its_code_and_without_the_password() {
        let (smarthost, _told) = server(Some("451 try later, pa55word")).await;
        let reaction = sent(email(smarthost), &Destinations::default()).await;
        let Reaction::Failed { status, error, .. } = reaction else { unreachable!("it was refused") };
        assert!(
            status == Some(451) && error.contains("try later") && !error.contains("pa55word"),
            "{status:?} {error}"
        );
    }

    #[tokio::test]
    async fn mail_goes_nowhere_inside_and_tls_is_not_done_without() {
        let (smarthost, told) = server(None).await;
        let strict = Destinations { allow_loopback: false, ..Destinations::default() };
        let reaction = sent(email(smarthost.clone()), &strict).await;
        assert!(matches!(reaction, Reaction::Failed { error, .. } if error.contains("is not a public address")));
        let encrypted = Email { tls: TlsMode::Required, ..email(smarthost) };
        assert!(matches!(sent(encrypted, &Destinations::default()).await, Reaction::Failed { .. }));
        let told = told.await.expect("the server does not panic");
        assert!(!told.iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL")), "{told:#?}");
    }
}
