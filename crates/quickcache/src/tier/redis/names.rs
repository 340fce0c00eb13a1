//! What keys and channels are called.
//!
//! ```text
//!                     one server                  a cluster
//! a value             ns:HEX                      ns:{bucket}:HEX
//! a function's own    ns:f:HEX                    ns:f:{bucket}:HEX
//! clears are told on  ns:database:clears          ns:{bucket}:clears
//! agreed upon         ns:staleness                ns:{bucket}:staleness
//! ```
//!
//! HEX is 20 bytes of the key, or of the hash of the function's name.

use super::commands::Commands;
use super::slots::Bucket;

/// The kinds of keys.
pub(super) const VALUE: &str = "";
pub(super) const FUNCTION: &str = "f:";

#[derive(Clone)]
pub(super) struct Names {
    pub(super) namespace: String,
    pub(super) database: i64,
    pub(super) cluster: bool,
}

impl Names {
    /// Where a value lies.
    pub(super) fn bucket(&self, key: &[u8; 20]) -> Bucket {
        match self.cluster {
            true => Bucket::of(key),
            false => Bucket(0),
        }
    }

    /// Those there are.
    pub(super) fn buckets(&self) -> impl Iterator<Item = Bucket> {
        let many = if self.cluster { usize::MAX } else { 1 };
        Bucket::all().take(many)
    }

    pub(super) fn value(&self, key: &[u8; 20]) -> Vec<u8> {
        self.name(VALUE, self.bucket(key), key)
    }

    /// A function's own key, beside the values of a bucket.
    pub(super) fn function(&self, function: &[u8; 20], bucket: Bucket) -> Vec<u8> {
        self.name(FUNCTION, bucket, function)
    }

    /// What all functions' own keys look like.
    pub(super) fn functions(&self) -> Vec<u8> {
        format!("{}:f:*", self.namespace).into_bytes()
    }

    /// The channel on which clears are told.
    pub(super) fn channel(&self, bucket: Bucket) -> Vec<u8> {
        let Names {
            namespace,
            database,
            ..
        } = self;
        match self.cluster {
            true => format!("{namespace}:{{{}}}:clears", bucket.tag()),
            false => format!("{namespace}:{database}:clears"),
        }
        .into_bytes()
    }

    /// The command that tells them.
    pub(super) fn publish(&self) -> &'static [u8] {
        match self.cluster {
            true => b"SPUBLISH",
            false => b"PUBLISH",
        }
    }

    /// On which staleness all have agreed.
    pub(super) fn staleness(&self, bucket: Bucket) -> Vec<u8> {
        let namespace = &self.namespace;
        match self.cluster {
            true => format!("{namespace}:{{{}}}:staleness", bucket.tag()),
            false => format!("{namespace}:staleness"),
        }
        .into_bytes()
    }

    /// Adds a name to the command that was begun, written where it stands.
    pub(super) fn add(
        &self,
        commands: &mut Commands,
        kind: &str,
        bucket: Bucket,
        bytes: &[u8; 20],
    ) {
        commands.argument_of(self.length(kind, bucket), |to| {
            self.write(to, kind, bucket, bytes);
        });
    }

    fn name(&self, kind: &str, bucket: Bucket, bytes: &[u8; 20]) -> Vec<u8> {
        let mut name = Vec::with_capacity(self.length(kind, bucket));
        self.write(&mut name, kind, bucket, bytes);
        name
    }

    fn length(&self, kind: &str, bucket: Bucket) -> usize {
        let tag = match self.cluster {
            true => bucket.tag().len() + 3,
            false => 0,
        };
        self.namespace.len() + 1 + kind.len() + tag + 40
    }

    fn write(&self, to: &mut Vec<u8>, kind: &str, bucket: Bucket, bytes: &[u8; 20]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        to.extend(self.namespace.as_bytes());
        to.push(b':');
        to.extend(kind.as_bytes());
        if self.cluster {
            to.push(b'{');
            to.extend(bucket.tag().as_bytes());
            to.extend(b"}:");
        }
        let mut digits = [0; 40];
        for (two, byte) in digits.chunks_exact_mut(2).zip(bytes) {
            two[0] = DIGITS[usize::from(byte >> 4)];
            two[1] = DIGITS[usize::from(byte & 15)];
        }
        to.extend(digits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_server_and_of_a_cluster() {
        let names = |cluster| Names {
            namespace: "qc".to_owned(),
            database: 0,
            cluster,
        };
        let (one, many) = (names(false), names(true));
        let key = [0xab; 20];
        let hex = "ab".repeat(20);
        let text = |name: Vec<u8>| String::from_utf8(name).expect("text");
        let bucket = one.bucket(&key);
        assert_eq!(text(one.value(&key)), format!("qc:{hex}"));
        assert_eq!(text(one.function(&key, bucket)), format!("qc:f:{hex}"));
        assert_eq!(text(one.channel(bucket)), "qc:0:clears");
        assert_eq!(text(one.staleness(bucket)), "qc:staleness");

        let bucket = many.bucket(&key);
        let tag = bucket.tag();
        assert_eq!(bucket, Bucket(0xab));
        assert_eq!(text(many.value(&key)), format!("qc:{{{tag}}}:{hex}"));
        assert_eq!(
            text(many.function(&key, bucket)),
            format!("qc:f:{{{tag}}}:{hex}")
        );
        assert_eq!(text(many.channel(bucket)), format!("qc:{{{tag}}}:clears"));
        assert_eq!(
            text(many.staleness(bucket)),
            format!("qc:{{{tag}}}:staleness")
        );
    }
}
