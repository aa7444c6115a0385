/* SPDX-License-Identifier: GPL-2.0-only */
/* The tests of the series are not part of the module. */
#if IS_ENABLED(CONFIG_KUNIT)
#define VISIBLE_IF_KUNIT
#else
#define VISIBLE_IF_KUNIT static
#endif
#define EXPORT_SYMBOL_IF_KUNIT(symbol)
