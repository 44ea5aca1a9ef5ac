# SPDX-License-Identifier: BSD-2-Clause
"""One recipe: its machines, and its page, step by step."""

import contextlib
import pathlib
import subprocess

import vm

from .packages import ImageWithTree, Tree
from .page import Page, pattern_of
from .parties import Guest, Host, PartyError
from .table import What

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGES = ROOT / 'docs' / 'recipes'
SOCKET = 'group.sock'  # of the server that the pages start


class RecipeError(Exception):
    pass


class Recipe:
    def __init__(self, name, what, build, accel, say):
        self.what, self.build, self.say = what, pathlib.Path(build).resolve(), say
        self.page = Page(PAGES / f'{name}.md')
        self.image = vm.build_image(self.build / 'guest', self.build / 'ivshmem-static', say=say)
        self.driver = vm.build_driver(self.image, say)
        self.accel = vm.choose_accel(self.image, self.image.cache, accel)
        self.tree = None
        if what.packages:
            # Beside what guests boot, which all builds share.
            self.tree = Tree(self.image.cache / 'recipes' / name, what.packages, what.needs, what.drops).fetch(say)

    def blocks_of(self, who):
        return {number: '\n'.join(step.lines) + '\n' for number, step in self.page.numbered()
                if step.kind == 'run' and step.who == who}

    def programs(self):
        return [*(self.build / path for path in self.what.programs), *(ROOT / path for path in self.what.scripts)]

    def start_guest(self, folder, name, script, files):
        image = ImageWithTree(self.image, self.tree) if self.tree else self.image
        programs = {f'bin/{path.name}': path.read_bytes() for path in self.programs()}
        guest = vm.Guest(image, self.accel, folder, name=name, script=script, iommu=None, memory=self.what.memory,
                         files={'modules/ivshmem.ko': self.driver, **self.what.files, **programs, **files},
                         devices=vm.ivshmem_doorbell(f'{folder}/{SOCKET}', self.what.vectors))
        return guest.start()

    def paths(self):
        """Where the host's shell finds programs."""
        own = dict.fromkeys([str(self.build), *(str(path.parent) for path in self.programs())])
        return own, self.tree.programs() if self.tree and self.what.host_programs else []

    def step(self, number, step, parties):
        party = parties.get(step.who)
        if step.kind == 'heading':
            self.say(f'\n{step.lines[0]}')
        elif step.kind == 'file':
            self.check_file(step)
        elif step.kind == 'text':
            for line in step.lines:
                party.expect(pattern_of(line))
        else:
            if isinstance(party, Guest):
                party.boot()
            for line in step.lines:
                self.say(f'  {step.who}$ {line}')
            (party.crash if step.crashes else party.run)(number)

    def check_file(self, step):
        text = (ROOT / step.who).read_text(encoding='utf-8')
        if '\n'.join(step.lines) not in text:
            raise RecipeError(f'{self.page.path.name}:{step.line}: {step.who} does not have these lines')

    def run(self):
        with vm.ScratchDir() as scratch, contextlib.ExitStack() as ends:
            parties, everybody = {}, []
            for name in self.page.parties():
                if name == 'host':
                    parties[name] = Host(scratch.path, self.blocks_of(name), *self.paths(), everybody, self.say)
                else:
                    parties[name] = Guest(name, self.blocks_of(name), self.what.prepare,
                                          lambda *arguments: self.start_guest(scratch.path, *arguments), everybody, self.say)
                ends.callback(parties[name].stop)
            for number, step in self.page.numbered():
                try:
                    self.step(number, step, parties)
                except (PartyError, vm.GuestError) as problem:
                    reports = [party.report() for party in parties.values() if isinstance(party, Guest)]
                    raise RecipeError('\n'.join([f'{self.page.path.name}:{step.line}: {problem}', *reports])) from problem


def run_recipe(name, what, build, accel='auto', say=print):
    """Carry out docs/recipes/NAME.md. RecipeError says where it failed; `say` is told what is done, line by line."""
    try:
        Recipe(name, what, build, accel, say).run()
    except (vm.ImageError, OSError, subprocess.CalledProcessError) as problem:
        raise RecipeError(str(problem)) from problem


__all__ = ['RecipeError', 'What', 'run_recipe']
