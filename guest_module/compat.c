// SPDX-License-Identifier: GPL-2.0-only
/*
 * What newer kernels do for drivers.
 */
#include <linux/reboot.h>
#include <linux/spinlock.h>
#include <linux/xarray.h>

/* Here it is the kernel's that is meant. */
#undef virtio_driver
#undef register_virtio_driver
#undef unregister_virtio_driver
#undef queue_work
#undef virtio_find_vqs
#undef shrinker
#undef all_vm_events
#undef PGSCAN_KSWAPD
#undef PGSCAN_DIRECT
#undef PGSTEAL_KSWAPD
#undef PGSTEAL_DIRECT

/* dkms replaces a module of the kernel by one that says another version only. */
MODULE_VERSION(FASTBALLOON_VERSION);

/* From the core's header, where it is a macro in some kernels */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
#define register_core(driver) __register_virtio_driver(driver, THIS_MODULE)
#else
int register_virtio_driver(struct virtio_driver *drv);
#define register_core(driver) register_virtio_driver(driver)
#endif
void unregister_virtio_driver(struct virtio_driver *drv);

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
void compat_all_vm_events(unsigned long *events)
{
	all_vm_events(events);
	events[COMPAT_PGSCAN_KSWAPD] = global_node_page_state(PGSCAN_KSWAPD);
	events[COMPAT_PGSCAN_DIRECT] = global_node_page_state(PGSCAN_DIRECT);
	events[COMPAT_PGSTEAL_KSWAPD] = global_node_page_state(PGSTEAL_KSWAPD);
	events[COMPAT_PGSTEAL_DIRECT] = global_node_page_state(PGSTEAL_DIRECT);
}

static int watch_shutdown(struct compat_virtio_driver *driver)
{
	return 0;
}

static void unwatch_shutdown(void)
{
}
#else
static struct compat_virtio_driver *the_driver;

static int shut_down(struct device *dev, void *unused)
{
	device_lock(dev);
	/* Unless somebody has unbound it meanwhile */
	if (dev->driver == &the_driver->driver)
		the_driver->shutdown(dev_to_virtio(dev));
	device_unlock(dev);

	return 0;
}

static int system_goes_down(struct notifier_block *nb, unsigned long action,
			    void *unused)
{
	int err;

	/* It goes through all of them, as none says no. */
	err = driver_for_each_device(&the_driver->driver, NULL, NULL, shut_down);
	WARN_ON(err);

	return NOTIFY_DONE;
}

static struct notifier_block reboot_nb = {
	.notifier_call = system_goes_down,
};

static int watch_shutdown(struct compat_virtio_driver *driver)
{
	the_driver = driver;
	return register_reboot_notifier(&reboot_nb);
}

static void unwatch_shutdown(void)
{
	unregister_reboot_notifier(&reboot_nb);
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
/* Work that is not to be queued, by its address */
static DEFINE_XARRAY(disabled_work);
static DEFINE_SPINLOCK(disabled_work_lock);

static void set_disabled(struct work_struct *work, void *entry)
{
	unsigned long index = (unsigned long)work;
	unsigned long flags;

	/* With no memory for that, it is as in a kernel that can't disable it. */
	WARN_ON(xa_reserve(&disabled_work, index, GFP_KERNEL));
	spin_lock_irqsave(&disabled_work_lock, flags);
	xa_store(&disabled_work, index, entry, GFP_ATOMIC);
	spin_unlock_irqrestore(&disabled_work_lock, flags);
}

void disable_work(struct work_struct *work)
{
	set_disabled(work, work);
}

void disable_work_sync(struct work_struct *work)
{
	disable_work(work);
	cancel_work_sync(work);
}

void enable_work(struct work_struct *work)
{
	xa_erase(&disabled_work, (unsigned long)work);
}

bool compat_queue_work(struct workqueue_struct *wq, struct work_struct *work)
{
	unsigned long flags;
	bool queued = false;

	spin_lock_irqsave(&disabled_work_lock, flags);
	if (!xa_load(&disabled_work, (unsigned long)work))
		queued = queue_work(wq, work);
	spin_unlock_irqrestore(&disabled_work_lock, flags);

	return queued;
}

static void forget_disabled_work(void)
{
	xa_destroy(&disabled_work);
}
#else
static void forget_disabled_work(void)
{
}
#endif

int compat_register_driver(struct compat_virtio_driver *driver)
{
	int err;

	err = compat_mm_init();
	if (err)
		return err;

	err = watch_shutdown(driver);
	if (err)
		goto out_mm;

	err = register_core((struct virtio_driver *)driver);
	if (err)
		goto out_shutdown;

	return 0;

out_shutdown:
	unwatch_shutdown();
out_mm:
	compat_mm_exit();
	return err;
}

void compat_unregister_driver(struct compat_virtio_driver *driver)
{
	unwatch_shutdown();
	unregister_virtio_driver((struct virtio_driver *)driver);
	compat_mm_exit();
	forget_disabled_work();
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
int compat_find_vqs(struct virtio_device *vdev, unsigned int nvqs,
		    struct virtqueue *vqs[], struct virtqueue_info vqs_info[],
		    struct irq_affinity *desc)
{
	vq_callback_t **callbacks = kcalloc(nvqs, sizeof(*callbacks), GFP_KERNEL);
	const char **names = kcalloc(nvqs, sizeof(*names), GFP_KERNEL);
	int err = -ENOMEM;
	unsigned int i;

	if (callbacks && names) {
		for (i = 0; i < nvqs; i++) {
			callbacks[i] = vqs_info[i].callback;
			names[i] = vqs_info[i].name;
		}
		err = virtio_find_vqs(vdev, nvqs, vqs, callbacks, names, desc);
	}
	kfree(names);
	kfree(callbacks);

	return err;
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
static unsigned long count_objects(struct shrinker *core, struct shrink_control *sc)
{
	struct compat_shrinker *shrinker =
		container_of(core, struct compat_shrinker, core);

	return shrinker->count_objects(shrinker, sc);
}

static unsigned long scan_objects(struct shrinker *core, struct shrink_control *sc)
{
	struct compat_shrinker *shrinker =
		container_of(core, struct compat_shrinker, core);

	return shrinker->scan_objects(shrinker, sc);
}

struct compat_shrinker *shrinker_alloc(unsigned int flags, const char *name)
{
	struct compat_shrinker *shrinker = kzalloc(sizeof(*shrinker), GFP_KERNEL);

	if (!shrinker)
		return NULL;

	shrinker->name = name;
	shrinker->core.flags = flags;
	shrinker->core.seeks = DEFAULT_SEEKS;
	shrinker->core.count_objects = count_objects;
	shrinker->core.scan_objects = scan_objects;

	return shrinker;
}

/* A shrinker that can't be registered is not called, and no more than that. */
void shrinker_register(struct compat_shrinker *shrinker)
{
	shrinker->registered = !register_shrinker(&shrinker->core, "%s",
						  shrinker->name);
}

void shrinker_free(struct compat_shrinker *shrinker)
{
	if (!shrinker)
		return;
	if (shrinker->registered)
		unregister_shrinker(&shrinker->core);
	kfree(shrinker);
}
#endif
