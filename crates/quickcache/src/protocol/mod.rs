//! The protocol: flights, validated joins, generations.
