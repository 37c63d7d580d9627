//! A recorded stream of messages beside the databases that both CoreScopes made of it.
