//! mDNS, LLMNR and NetBIOS names.
