//! Certificates; their private keys are sealed.

use jiff::Timestamp;
use panda_domain::route::CertificateState;
use panda_domain::secret::Secret;

use crate::error::Result;
use crate::sql::{Row, to_json};
use crate::tx::Tx;

/// How many certificates are read at once.
const PAGE: u32 = 64;

/// A certificate, or the wish for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRow {
    /// The host that it is for.
    pub host: String,
    /// Where it stands.
    pub state: CertificateState,
    /// The chain, leaf first, PEM.
    pub chain_pem: Option<String>,
    /// The private key, PEM.
    pub key: Option<Secret>,
    /// When it ends.
    pub not_after: Option<Timestamp>,
    /// Orders in a row that failed; of one that the runtime renews, 1 once its owner was told that it is late.
    pub attempts: u32,
    /// When to order (again); when to warn (again) of the end of one that people gave.
    pub next_attempt_at: Timestamp,
    /// What the edge answers while an order is under way.
    pub challenge: Option<Challenge>,
}

/// Token and answer of an HTTP-01 challenge.
pub type Challenge = (String, String);

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select host, detail, chain_pem, sealed_key, not_after, attempts, next_attempt_at, challenge_token,
                challenge_answer from certificates ",
            $rest
        )
    };
}

impl Tx {
    /// Wishes for a certificate, to be ordered at once. Leaves one that is there alone.
    pub async fn ensure_certificate(&mut self, host: &str) -> Result<()> {
        let now = self.now();
        let state = CertificateState::Pending;
        let sql = "insert into certificates (host, state, detail, next_attempt_at, created_at)
            values ($1, $2, $3, $4, $4) on conflict (host) do nothing";
        self.sql("certificates", sql)
            .bind(host)
            .bind(word(&state))
            .bind(to_json(&state))
            .bind(now)
            .run()
            .await?;
        Ok(())
    }

    /// Writes everything that is known about a host's certificate. One that people gave is only replaced by another such one: an
    /// order that was under way when it came changes nothing.
    pub async fn upsert_certificate(&mut self, certificate: &CertificateRow) -> Result<()> {
        let now = self.now();
        let host = &certificate.host;
        let sealed = certificate.key.as_ref().map(|key| self.seal(&place(host), key)).transpose()?;
        let (token, answer) = certificate.challenge.clone().unzip();
        let sql = "insert into certificates (host, state, detail, chain_pem, sealed_key, not_after, attempts,
                next_attempt_at, challenge_token, challenge_answer, created_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
            on conflict (host) do update set state = excluded.state, detail = excluded.detail,
                chain_pem = excluded.chain_pem, sealed_key = excluded.sealed_key, not_after = excluded.not_after,
                attempts = excluded.attempts, next_attempt_at = excluded.next_attempt_at,
                challenge_token = excluded.challenge_token, challenge_answer = excluded.challenge_answer
            where certificates.state <> 'own' or excluded.state = 'own'";
        self.sql("certificates", sql)
            .bind(host)
            .bind(word(&certificate.state))
            .bind(to_json(&certificate.state))
            .bind(certificate.chain_pem.clone())
            .bind(sealed)
            .bind(certificate.not_after)
            .bind(certificate.attempts)
            .bind(certificate.next_attempt_at)
            .bind(token)
            .bind(answer)
            .bind(now)
            .run()
            .await?;
        Ok(())
    }

    /// Notes that an order failed, and when to try again. A certificate that is there stays, and the state of one that people gave.
    pub async fn fail_certificate(
        &mut self,
        host: &str,
        reason: &str,
        attempts: u32,
        next_attempt_at: Timestamp,
    ) -> Result<()> {
        self.ensure_certificate(host).await?;
        let state = CertificateState::Failed { reason: reason.to_owned() };
        let sql = "update certificates set state = $2, detail = $3, attempts = $4, next_attempt_at = $5,
            challenge_token = null, challenge_answer = null where host = $1 and state <> 'own'";
        let statement = self.sql("certificates", sql).bind(host).bind(word(&state)).bind(to_json(&state));
        statement.bind(attempts).bind(next_attempt_at).run().await?;
        Ok(())
    }

    /// Notes the challenge of an order under way; not where people gave a certificate meanwhile.
    pub async fn put_challenge(&mut self, host: &str, token: &str, answer: &str) -> Result<()> {
        self.ensure_certificate(host).await?;
        let state = CertificateState::Ordering;
        let sql =
            "update certificates set state = $2, detail = $3, challenge_token = $4, challenge_answer = $5
            where host = $1 and state <> 'own'";
        let statement = self.sql("certificates", sql).bind(host).bind(word(&state)).bind(to_json(&state));
        statement.bind(token).bind(answer).run().await?;
        Ok(())
    }

    /// Returns a host's certificate.
    pub async fn certificate(&mut self, host: &str) -> Result<Option<CertificateRow>> {
        match self.sql("certificates", select!("where host = $1")).bind(host).optional().await? {
            Some(row) => self.open_certificate(&row).await.map(Some),
            None => Ok(None),
        }
    }

    /// Returns the routed hosts whose certificate is missing, or ends before `until` and may be tried again: for reconcilers. Not
    /// those that people gave one for.
    pub async fn hosts_without_certificate(&mut self, until: Timestamp) -> Result<Vec<String>> {
        let now = self.now();
        let sql = "select h.host from (
                select p.host from placements p where p.deleting_at is null
                union select d.host from domains d join placements p on p.id = d.placement_id
                    where d.verified_at is not null and p.deleting_at is null) h
            left join certificates c on c.host = h.host
            where c.host is null or (c.state <> 'own' and c.next_attempt_at <= $1
                and (c.chain_pem is null or c.not_after is null or c.not_after < $2))
            order by h.host";
        self.sql("certificates", sql).bind(now).bind(until).list(|row| row.text("host")).await
    }

    /// Returns the routed hosts that the local authority vouches for although a public one could, and that may be looked at again: for
    /// runtimes that order by themselves.
    pub async fn hosts_issued_locally(&mut self) -> Result<Vec<String>> {
        let now = self.now();
        let sql = "select host from certificates where state = 'local' and next_attempt_at <= $1
            and host like '%.%' and host not like '%.localhost'
            and (host in (select host from placements where deleting_at is null)
                or host in (select d.host from domains d join placements p on p.id = d.placement_id
                    where d.verified_at is not null and p.deleting_at is null))
            order by host";
        self.sql("certificates", sql).bind(now).list(|row| row.text("host")).await
    }

    /// Returns the certificates that people gave and whose owners are to be warned of the end now: host and state.
    pub async fn ending_own_certificates(&mut self) -> Result<Vec<(String, CertificateState)>> {
        let now = self.now();
        let sql = "select host, detail from certificates where state = 'own' and next_attempt_at <= $1 order by host";
        self.sql("certificates", sql).bind(now).list(|row| Ok((row.text("host")?, row.json("detail")?))).await
    }

    /// Notes when the owners of a certificate that people gave are to be warned next.
    pub async fn warn_again_at(&mut self, host: &str, at: Timestamp) -> Result<()> {
        let sql = "update certificates set next_attempt_at = $2 where host = $1 and state = 'own'";
        self.sql("certificates", sql).bind(host).bind(at).run().await?;
        Ok(())
    }

    /// Forgets a host's certificate that people gave, key and all. Returns false if there was none.
    pub async fn delete_own_certificate(&mut self, host: &str) -> Result<bool> {
        let sql = "delete from certificates where host = $1 and state = 'own'";
        self.sql("certificates", sql).bind(host).changed().await
    }

    /// Returns the certificates to order whose next attempt is due, the longest due first.
    pub async fn due_certificates(&mut self, now: Timestamp) -> Result<Vec<CertificateRow>> {
        let sql = select!("where state <> 'own' and next_attempt_at <= $1 order by next_attempt_at, host");
        let rows = self.sql("certificates", sql).bind(now).all().await?;
        self.open_certificates(&rows).await
    }

    /// Returns all certificates by host. Reads them in pages: rows are large, and all at once would be a peak.
    pub async fn all_certificates(&mut self) -> Result<Vec<CertificateRow>> {
        let mut certificates: Vec<CertificateRow> = Vec::new();
        loop {
            let after = certificates.last().map(|last| last.host.clone()).unwrap_or_default();
            let sql = select!("where host > $1 order by host limit $2");
            let rows = self.sql("certificates", sql).bind(after).bind(PAGE).all().await?;
            certificates.extend(self.open_certificates(&rows).await?);
            if rows.len() < PAGE as usize {
                return Ok(certificates);
            }
        }
    }

    /// Forgets certificates of hosts that no route has led to since `before`, at most `limit`; `routed` are the hosts that
    /// routes lead to now. Dates the others. Returns the hosts that were forgotten.
    pub async fn delete_unrouted_certificates(
        &mut self,
        routed: &[String],
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<String>> {
        let now = self.now();
        let routed = to_json(routed);
        let sql = (
            "update certificates set unrouted_at = null
                where unrouted_at is not null and host in (select value from json_each($1))",
            "update certificates set unrouted_at = null
                where unrouted_at is not null and host in (select jsonb_array_elements_text($1::jsonb))",
        );
        self.sql_by("certificates", sql.0, sql.1).bind(&routed).run().await?;
        let sql = (
            "update certificates set unrouted_at = $2
                where unrouted_at is null and host not in (select value from json_each($1))",
            "update certificates set unrouted_at = $2
                where unrouted_at is null and host not in (select jsonb_array_elements_text($1::jsonb))",
        );
        self.sql_by("certificates", sql.0, sql.1).bind(&routed).bind(now).run().await?;
        let sql = "delete from certificates where host in (
                select host from certificates where unrouted_at <= $1 order by unrouted_at limit $2)
            returning host";
        self.sql("certificates", sql).bind(before).bind(limit).list(|row| row.text("host")).await
    }

    /// Forgets a host's certificate. Returns false if there was none.
    pub async fn delete_certificate(&mut self, host: &str) -> Result<bool> {
        self.sql("certificates", "delete from certificates where host = $1").bind(host).changed().await
    }

    async fn open_certificates(&mut self, rows: &[Row]) -> Result<Vec<CertificateRow>> {
        let mut certificates = Vec::with_capacity(rows.len());
        for row in rows {
            certificates.push(self.open_certificate(row).await?);
        }
        Ok(certificates)
    }

    async fn open_certificate(&mut self, row: &Row) -> Result<CertificateRow> {
        let host = row.text("host")?;
        let key = match row.opt_bytes("sealed_key")? {
            Some(sealed) => {
                let what = format!("the certificate's key of `{host}`");
                Some(self.unseal(&place(&host), &what, &sealed).await?)
            }
            None => None,
        };
        Ok(CertificateRow {
            state: row.json("detail")?,
            chain_pem: row.opt_text("chain_pem")?,
            key,
            not_after: row.opt_time("not_after")?,
            attempts: row.number("attempts")?,
            next_attempt_at: row.time("next_attempt_at")?,
            challenge: row.opt_text("challenge_token")?.zip(row.opt_text("challenge_answer")?),
            host,
        })
    }
}

fn place(host: &str) -> String {
    format!("certificate/{host}")
}

fn word(state: &CertificateState) -> &'static str {
    match state {
        CertificateState::Local => "local",
        CertificateState::Pending => "pending",
        CertificateState::Ordering => "ordering",
        CertificateState::Issued { .. } => "issued",
        CertificateState::Own { .. } => "own",
        CertificateState::Failed { .. } => "failed",
    }
}
