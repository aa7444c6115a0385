"""Results: numbers and their schema here, what is said of them in ``report``, how it is written in ``page``."""
