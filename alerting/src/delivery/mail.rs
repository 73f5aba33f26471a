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
