//! NTLM account names.
