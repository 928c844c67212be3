"""What becomes of acknowledged data when things break: clients with a ledger, faults, and a comparison afterwards."""
