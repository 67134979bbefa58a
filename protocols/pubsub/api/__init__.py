"""What applications hold: joined topics, subscriptions, receipts, statistics, settings."""
