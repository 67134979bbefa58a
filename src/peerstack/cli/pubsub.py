"""`peerstack pubsub`: publish messages to topics, and print those of others."""

from __future__ import annotations

from cyclopts import App, Group

app = App(
    name="pubsub",
    group_parameters=Group("Options"),
    help_epilogue="""Examples:
  peerstack pubsub subscribe news --listen /ip4/127.0.0.1/tcp/4001
  peerstack pubsub publish news hello --peer /ip4/127.0.0.1/tcp/4001""",
)
app.command("peerstack.cli.subscribe:app", name="subscribe", help="Print the messages of topics.", sort_key=0)
app.command(
    "peerstack.cli.publish:app",
    name="publish",
    help="Publish messages, and tell for each who it was sent to.",
    sort_key=1,
)
