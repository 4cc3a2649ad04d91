"""`completion`: what makes a shell complete the commands and options of `whisper-fleet`, made by click."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash: whisper-fleet completion bash > ~/.local/share/bash-completion/completions/whisper-fleet
    zsh:  whisper-fleet completion zsh > "${fpath[1]}/_whisper-fleet"
    fish: whisper-fleet completion fish > ~/.config/fish/completions/whisper-fleet.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"there is no completion for {shell}")
    # bash's class calls `bash` for its version when it makes the script; templates and variables are the same for all.
    script = kind(context.find_root().command, {}, "whisper-fleet", "_WHISPER_FLEET_COMPLETE").source()
    click.echo(script)
