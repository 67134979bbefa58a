"""Publish and subscribe: gossipsub v1.0 to v1.3, and floodsub."""
