"""Image sets as batches: named sets, folder trees and .beton files behind one LightningDataModule.

`xnorlit.data.prepare.prepare` writes .beton files. Each name is imported when it is first used, so that preparing or
probing a data set does not wait for Lightning; the stub beside this file says where it lives.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
