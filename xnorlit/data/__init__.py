"""Image sets as batches: named sets, folder trees and .beton files behind one LightningDataModule.

`xnorlit.data.prepare.prepare` writes .beton files. Names are imported at first use, so that preparing or
probing an image set does not wait for Lightning; the stub beside this file lists their modules.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
